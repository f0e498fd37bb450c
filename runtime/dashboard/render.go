package dashboard

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/pgerr"
)

//go:embed templates
var templateFiles embed.FS

// parsePages creates a template for every page, each with the frame around it and the
// shared parts.
func parsePages() (map[string]*template.Template, error) {
	shared, err := template.New("").Funcs(functions).ParseFS(templateFiles, "templates/frame.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("flowc: dashboard: %w", err)
	}
	names, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("flowc: dashboard: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, file := range names {
		own, err := shared.Clone()
		if err == nil {
			own, err = own.ParseFS(templateFiles, "templates/"+file.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("flowc: dashboard: %w", err)
		}
		pages[strings.TrimSuffix(file.Name(), path.Ext(file.Name()))] = own
	}
	return pages, nil
}

// A frame is what surrounds every page.
type frame struct {
	Title   string
	Section string // which entry of the navigation it belongs to
	Name    string
	Assets  string // the version of scripts and styles
	Refresh bool   // whether it refreshes by itself
	Notice  string // what was done just now
	Fault   bool   // whether the notice reports a failure
	May     map[string]bool
	Now     time.Time
	Body    any
	Sharded bool          // whether the database consists of several
	Silent  []silentShard // those that did not answer
	Help    []helpPage

	prefix string
}

// Root returns the path of the dashboard's first page.
func (f *frame) Root() string { return f.prefix + "/" }

// Path returns a path in the dashboard, each part of which is escaped.
func (f *frame) Path(parts ...string) string {
	var b strings.Builder
	b.WriteString(f.prefix)
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}

// Asset returns the path of a script, a style or a picture.
func (f *frame) Asset(name string) string { return f.Path("assets", name) + "?v=" + f.Assets }

// HelpHere returns the page of help that is about this page, if there is one.
func (f *frame) HelpHere() *helpPage { return findHelp(f.Help, helpTopics[f.Section]) }

func (h *Handler) frame(r *http.Request, section, title string, body any) *frame {
	f := &frame{
		Title: title, Section: section, Name: h.config.Name, Assets: h.assets.version, May: h.allowed(r),
		Now: time.Now(), Body: body, prefix: h.config.Prefix, Sharded: h.sharded, Silent: silent(r), Help: h.help,
	}
	f.Notice, f.Fault = notice(r.URL.Query())
	return f
}

// render writes a page.
func (h *Handler) render(w http.ResponseWriter, status int, page string, f *frame) error {
	var b bytes.Buffer
	if err := h.pages[page].ExecuteTemplate(&b, "frame.html", f); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // the browser is gone
	return nil
}

// reporting turns a handler that returns an error into one that renders it as a page.
func (h *Handler) reporting(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r = listening(r)
		if err := serve(w, r); err != nil {
			h.report(w, r, err)
		}
	}
}

// insufficientPrivilege is PostgreSQL's code for a missing right.
const insufficientPrivilege = "42501"

// report shows an error. Errors that are not meant for users go to the log only.
func (h *Handler) report(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	status := asStatus(err)
	var duplicate *runtime.DuplicateRunError
	switch {
	case status != nil:
	case errors.As(err, &duplicate):
		status = &statusError{http.StatusConflict, "Another run is like it", "Run " + duplicate.RunID + " has the same unique values, and has not ended. Cancel that one first, or let it end."}
	case shardStatus(err) != nil:
		status = shardStatus(err)
	case errors.Is(err, runtime.ErrRunNotFound), errors.Is(err, runtime.ErrInvalidRunID):
		status = errNoRun
	case errors.Is(err, runtime.ErrFlowNotFound):
		status = errNoFlow
	case errors.Is(err, runtime.ErrNoSchedule), errors.Is(err, runtime.ErrInvalidSlug):
		status = errNoSchedule
	case errors.Is(err, runtime.ErrInvalidOption):
		status = asStatus(badRequest(err.Error()))
	case errors.Is(err, runtime.ErrEngineMissing):
		status = &statusError{http.StatusServiceUnavailable, "No engine", "The database has no flowc engine, or an older one. Run flowc migrate up."}
	case errors.Is(err, runtime.ErrNeedsEngine):
		status = &statusError{http.StatusServiceUnavailable, "Another pgflow", "The pgflow in this database was not installed by flowc, and does not offer what this dashboard shows."}
	case pgerr.Code(err) == insufficientPrivilege:
		status = &statusError{http.StatusForbidden, "Not allowed", "The database role of this dashboard may not do that."}
	case errors.Is(err, context.DeadlineExceeded):
		status = &statusError{http.StatusGatewayTimeout, "That took too long", "The database did not answer in time. A shorter time range, or fewer filters, is quicker."}
	default:
		status = &statusError{http.StatusInternalServerError, "Something went wrong", "The database could not be asked. The log of this program says why."}
	}
	if status.status >= http.StatusInternalServerError {
		h.stats.failures.Add(1)
		h.log.ErrorContext(r.Context(), "flowc: dashboard", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if err := h.render(w, status.status, "error", h.frame(r, "", status.title, status.text)); err != nil {
		h.log.ErrorContext(r.Context(), "flowc: dashboard", "error", err)
		http.Error(w, status.text, status.status)
	}
}
