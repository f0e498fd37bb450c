package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// findBrowser finds Chromium. Where there is none the test is skipped, unless
// FLOWC_BROWSER is "required".
func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("FLOWC_BROWSER") == "required" {
		t.Fatal("there is no Chromium in PATH, and FLOWC_BROWSER requires one: apt-get install chromium")
	}
	t.Skip("needs a Chromium in PATH: apt-get install chromium")
	return ""
}

// theBrowser is the context of a real browser, once a test has asked for it. To start one takes
// longer than most tests take in it.
var theBrowser struct {
	once sync.Once
	ctx  context.Context
	err  error
}

// startBrowser starts the browser of all tests, which ends when they have run.
func startBrowser(path string) (context.Context, error) {
	theBrowser.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
			chromedp.Flag("force-prefers-reduced-motion", true)) // animations keep a processor busy without end
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		dbtest.AtEnd(func() {
			_ = chromedp.Cancel(ctx) // it may have crashed, and then there is nothing to end
			cancel()
			stop()
		})
		theBrowser.ctx, theBrowser.err = ctx, chromedp.Do(ctx)
	})
	return theBrowser.ctx, theBrowser.err
}

// A browser is a tab of a real browser, which looks at a site. It shares nothing with those
// of other tests.
type browser struct {
	*site
	ctx context.Context

	mu       sync.Mutex
	problems []string // scripts that failed, what the policy blocked, dialogs
}

// newBrowser opens a browser, which has to come to the end of the test without
// a script that fails, anything that the content security policy blocks, or a
// dialog that somebody made a page open.
func newBrowser(s *site) *browser {
	s.Helper()
	all, err := startBrowser(findBrowser(s.T))
	require.NoError(s, err)
	ctx, cancel := chromedp.NewContext(all, chromedp.WithNewBrowserContext())
	s.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
	})
	b := &browser{site: s, ctx: ctx}
	require.NoError(s, chromedp.Listen(ctx, b.note))
	s.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(s, b.problems)
	})
	return b
}

func (b *browser) note(event any) {
	var problem string
	switch e := event.(type) {
	case *cdpruntime.EventExceptionThrown:
		problem = "a script failed: " + e.ExceptionDetails.Text
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError {
			problem = fmt.Sprintf("%s %s", e.Entry.Text, e.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		problem = "a dialog opened: " + e.Message
	}
	if problem != "" {
		b.mu.Lock()
		b.problems = append(b.problems, problem)
		b.mu.Unlock()
	}
}

// open opens a page.
func (b *browser) open(path string) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, chromedp.Navigate(b.server.URL+path)))
}

// size sets the width of the window and its colour scheme.
func (b *browser) size(width int64, scheme string) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 900)))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(b, err)
}

// js evaluates an expression on the page.
func js[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err, expression)
	return v
}

// wait waits until an expression is true.
func (b *browser) wait(expression string) {
	b.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(3*patience)))
	require.NoError(b, err, "%s is not true", expression)
}

// click clicks on an element, as a user does; then goes where that leads.
func (b *browser) click(selector string) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector))), selector)
}

// submit clicks on something that leads to another page, and waits for that.
func (b *browser) submit(selector string) {
	b.Helper()
	_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector)))
	require.NoError(b, err, selector)
}

func (b *browser) keys(keys string) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, chromedp.KeyEvent(keys)))
}

// clipped are the parts of a page that reach beyond the window and cannot be
// scrolled to, and what breaks in the middle of its words.
const clipped = `[...document.querySelectorAll("main td, main th, main .button, main .badge, h1, .nav a, .tabs a, .tools > *")].filter((e) => {
	const box = e.getBoundingClientRect();
	if (!box.width) return false;
	for (let p = e.parentElement; p; p = p.parentElement) if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return false;
	return box.right > innerWidth + 1 || e.matches(".nav a, .tabs a") && box.height > 50;
}).map((e) => e.outerHTML).join("\n")`

func TestBrowserShowsPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{Name: "production"})
	b := newBrowser(s)
	id := s.start(`{"order": 1}`)
	s.complete()
	const long = "a_name_as_long_as_the_name_of_a_queue_may_be_xy"
	_, err := runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: long, Steps: []spec.Step{{Slug: long}}})
	require.NoError(t, err)
	waiting, err := runtime.StartFlow(s.ctx, s.pool, long, json.RawMessage(`{}`))
	require.NoError(t, err)
	_, err = runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: long[:46] + "z", Cron: "CRON_TZ=America/Argentina/ComodRivadavia 0,15,30,45 1,3,5,7,9,11 * jan,feb,mar mon-fri", Steps: []spec.Step{{Slug: long}}})
	require.NoError(t, err)
	_, err = runtime.UpsertFlow(s.ctx, s.pool, spec.Flow{Slug: "tidy", Cron: "@every 1h", Steps: []spec.Step{{Slug: "tidy"}}})
	require.NoError(t, err)
	_, err = ops.PauseSchedule(s.ctx, s.pool, "tidy", "until we know what "+strings.Repeat("tidies ", 20))
	require.NoError(t, err)
	failed := s.start(`{}`)
	s.work("permanent", strings.Repeat("a long word of an error ", 20)+strings.Repeat("x", 300))
	_, err = runtime.UpsertFlow(s.ctx, s.pool, claims)
	require.NoError(t, err)
	claim := s.claim()
	turn := s.index()
	for _, path := range []string{"/", "/runs", "/runs/" + id, "/runs/" + failed, "/runs/" + waiting.ID(), "/runs/" + id + "/steps/pack", "/flows", "/flows/" + long, "/flows/shop", "/flows/" + long[:46] + "z", "/flows/tidy", "/waiting", "/runs/" + claim, "/queues", "/gates", "/runs/" + turn, "/flows/index", "/schedules", "/workers"} {
		b.open(path)
		require.NotEmpty(t, js[string](b, `document.querySelector("h1").textContent`), path)
		for _, window := range []struct {
			width  int64
			scheme string
		}{{390, "dark"}, {820, "light"}, {1440, "dark"}} {
			b.size(window.width, window.scheme)
			require.LessOrEqual(t, js[float64](b, `document.documentElement.scrollWidth - innerWidth`), 0.0, "%s is wider than %d", path, window.width)
			require.Empty(t, js[string](b, clipped), "%s at %d: cut off", path, window.width)
			require.Equal(t, window.scheme == "dark", js[bool](b, `getComputedStyle(document.body).backgroundColor === "rgb(14, 18, 25)"`), "%s %s", path, window.scheme)
		}
	}
	b.open("/runs/" + id)
	require.True(t, js[bool](b, `document.querySelector(".graph-wide [data-node=check]").getBoundingClientRect().width > 50`), "the graph is drawn")
}

func TestBrowserShowsAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	_, err := runtime.DeleteFlow(s.ctx, s.pool, shop.Slug)
	require.NoError(t, err)
	b.size(390, "light")
	for _, path := range []string{"/", "/flows", "/queues"} {
		b.open(path)
		require.Contains(t, js[string](b, `document.querySelector(".begin").textContent`), "flowc generate ./...", path)
		require.LessOrEqual(t, js[float64](b, `document.documentElement.scrollWidth - innerWidth`), 0.0, path)
	}
}

func TestBrowserFollowsARun(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	id := s.start(`{"a": {"b": {"c": 1}}}`)
	b.size(1440, "light")
	b.open("/runs/" + id)
	// What is changed on the page would be lost if it were loaded anew.
	js[bool](b, `window.stayed = document.querySelector("#payloads details details").open = false; true`)
	node := func(step, class string) string {
		return fmt.Sprintf(`document.querySelector(".graph-wide [data-node=%s]").classList.contains(%q)`, step, class)
	}
	require.True(t, js[bool](b, node("check", "started")))
	require.True(t, js[bool](b, node("lines", "created")))

	s.work("completed", `{"mail": false}`)
	b.wait(node("check", "completed"))
	b.wait(node("lines", "started"))
	b.wait(node("mail", "skipped"))
	b.wait(`document.querySelector(".graph-wide [data-from=check]").classList.contains("completed")`)
	b.wait(`document.querySelector("#timeline .bar.completed") !== null`)
	b.wait(`document.querySelector("#step-check").classList.contains("completed")`)
	require.False(t, js[bool](b, `document.querySelector("#payloads details details").open`), "what was closed stays closed")

	s.work("completed", `["a"]`)
	s.work("completed", `1`)
	s.work("completed", `"sent"`)
	b.wait(node("ship", "completed"))
	b.wait(`document.querySelector("#head .badge").textContent === "completed"`)
	b.wait(`document.querySelector("#live").hidden`)
	b.wait(`document.querySelector("#payloads").textContent.includes("sent")`)
	require.True(t, js[bool](b, `window.stayed === false`), "the page was not loaded anew")
}

func TestBrowserActs(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	ids := []string{s.start(`{}`), s.start(`{}`), s.start(`{}`)}

	b.open("/runs/" + ids[0])
	require.False(t, js[bool](b, `document.querySelector("#cancel").matches(":popover-open")`))
	b.click(`[popovertarget=cancel].button`)
	require.True(t, js[bool](b, `document.querySelector("#cancel").matches(":popover-open")`))
	require.Equal(t, runtime.RunRunning, s.status(ids[0]), "it is asked first")
	require.NoError(t, chromedp.Do(b.ctx, chromedp.SendKeys(chromedp.CSS("#cancel input"), "no more")))
	b.submit(`#cancel button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "The run was cancelled.")
	require.Contains(t, js[string](b, `document.querySelector(".banner").textContent`), "no more")
	require.Equal(t, runtime.RunCancelled, s.status(ids[0]))

	b.open("/runs")
	visible := `getComputedStyle(document.querySelector(".bulk")).display !== "none"`
	require.False(t, js[bool](b, visible))
	b.click(`input[value="` + ids[1] + `"]`)
	b.click(`input[value="` + ids[2] + `"]`)
	require.True(t, js[bool](b, visible))
	require.Equal(t, "2", js[string](b, `document.querySelector("[data-picked]").textContent`))
	b.click(`[popovertarget=many-delete].danger`)
	require.Equal(t, runtime.RunRunning, s.status(ids[1]))
	b.submit(`#many-delete button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "2 runs were deleted.")
	require.Equal(t, 1.0, js[float64](b, `document.querySelectorAll("input[name=id]").length`))
}

func TestBrowserStartsARun(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	b.size(390, "light")
	b.open("/flows/shop")
	b.click(`[popovertarget=start].primary`)
	js[bool](b, `document.querySelector("#start textarea").value = "{\"order\": "; true`)
	b.click(`#start button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector("#start textarea").validationMessage`), "That is not JSON")
	require.Equal(t, "/flows/shop", js[string](b, `location.pathname`), "nothing was sent")
	require.NoError(t, chromedp.Do(b.ctx, chromedp.SendKeys(chromedp.CSS("#start textarea"), `7}`)))
	b.submit(`#start button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "The run was started.")
	runs, err := ops.ListRuns(s.ctx, s.pool, ops.RunFilter{})
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.Equal(t, "/runs/"+runs[0].ID, js[string](b, `location.pathname`))
}

func TestBrowserRunsAStepAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	id := s.start(`{}`)
	s.complete()
	b.open("/runs/" + id + "#step-pack")
	b.click(`[popovertarget=again-pack].small`)
	require.Equal(t, runtime.RunCompleted, s.status(id), "it is asked first")
	b.submit(`#again-pack button[type=submit]`)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "The run was resumed from that step.")
	s.work("completed", `1`)
	s.work("completed", `2`)
	b.wait(`document.querySelector("#step-pack").classList.contains("completed")`)
}

func TestBrowserKeysAndTheme(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	id := s.start(`{}`)
	s.start(`{}`)
	b.size(1440, "light")
	b.open("/")
	for keys, path := range map[string]string{"gr": "/runs", "ga": "/waiting", "gf": "/flows", "gq": "/queues", "gg": "/gates", "gs": "/schedules", "gw": "/workers", "go": "/"} {
		js[bool](b, `(Date.now = () => 1e12, true)`) // however slow the machine is, the two keys come together
		_, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(keys))
		require.NoError(t, err)
		require.Equal(t, path, js[string](b, `location.pathname`))
	}
	b.keys("?")
	require.True(t, js[bool](b, `document.querySelector("#help").matches(":popover-open")`))
	b.keys("?")
	require.False(t, js[bool](b, `document.querySelector("#help").matches(":popover-open")`))

	b.keys("t")
	dark := `getComputedStyle(document.documentElement).colorScheme === "dark"`
	require.True(t, js[bool](b, dark))
	b.open("/runs")
	require.True(t, js[bool](b, dark), "the choice is kept")

	b.keys("/")
	require.Equal(t, "contains", js[string](b, `document.activeElement.name`))
	js[bool](b, `document.activeElement.value = ""; true`)
	b.keys("jt")
	require.Equal(t, "jt", js[string](b, `document.activeElement.value`), "keys that are typed do nothing else")
	js[bool](b, `document.activeElement.value = ""; document.activeElement.blur(); true`)
	b.keys("jj")
	require.Equal(t, "/runs/"+id, js[string](b, `document.activeElement.getAttribute("href")`))
	b.keys("x")
	require.True(t, js[bool](b, `document.querySelector("input[value='`+id+`']").checked`))
	b.open("/runs/" + id)
	_, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent("["))
	require.NoError(t, err)
	require.NotEqual(t, "/runs/"+id, js[string](b, `location.pathname`))
	b.keys("e")
	require.Equal(t, 5.0, js[float64](b, `document.querySelectorAll(".step[open]").length`))
	b.open("/runs/" + id)
	b.click(`.graph-wide [data-node=pack]`)
	require.True(t, js[bool](b, `document.querySelector("#step-pack").open`), "a step of the graph opens its details")
}

func TestBrowserIgnoresHostilePayloads(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	const evil = `</script></textarea></style></title></svg><script>window.hacked=1;alert(1)</script><img src=/evil.png onerror="window.hacked=1"><svg onload=alert(2)>"'` + "\u2028`${alert(3)}"
	text, err := json.Marshal(evil)
	require.NoError(t, err)
	id := s.start(`{` + string(text) + `: [` + string(text) + `]}`)
	s.work("failed", evil)
	_, err = ops.RunNow(s.ctx, s.pool, id, "")
	require.NoError(t, err)
	s.work("completed", string(text))
	_, err = s.pool.Exec(s.ctx, `SELECT flowc.register_worker(gen_random_uuid(), $1, '{}')`, evil)
	require.NoError(t, err)
	b.open("/runs/" + id)
	b.keys("e")
	s.work("permanent", evil+"\n"+evil) // arrives while the page is open
	b.wait(`document.querySelector("#head .badge").textContent === "failed"`)
	b.wait(`document.querySelector("#outcome").textContent.includes("</script>")`)
	other := s.start(`{}`)
	require.NoError(t, runtime.CancelRun(s.ctx, s.pool, other, evil))
	for _, path := range []string{"/", "/runs", "/runs/" + id, "/runs/" + other, "/runs/" + id + "/steps/check", "/workers", "/flows/shop"} {
		b.open(path)
		require.False(t, js[bool](b, `"hacked" in window`), path)
		require.Equal(t, 0.0, js[float64](b, `document.querySelectorAll("main script, main img, [onerror], [onload]").length`), path)
	}
	b.open("/runs/" + id + "/payload?of=run_input")
	require.False(t, js[bool](b, `"hacked" in window`))
}

// TestBrowserSearch: a run is found by a part of its id, and its page says what it waits
// for.
func TestBrowserSearch(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	b := newBrowser(s)
	id := s.start(`{}`)
	s.start(`{}`)
	b.size(1440, "light")
	submit := func(field, text string) {
		_, err := chromedp.RunResponse(b.ctx, chromedp.SetValue(`input[name=`+field+`]`, text), chromedp.Submit(`.filters`))
		require.NoError(t, err)
	}
	rows := `document.querySelectorAll("#runs tr[data-row]").length`
	b.open("/runs")
	require.Equal(t, 2, js[int](b, rows))
	submit("q", id[24:])
	require.Equal(t, 1, js[int](b, rows))
	require.Equal(t, "/runs/"+id, js[string](b, `document.querySelector("#runs .row-link").getAttribute("href")`))

	// The page of a run says what it waits for.
	b.open("/runs/" + id)
	require.Equal(t, "no worker serves shop", js[string](b, `document.querySelector(".waits li").textContent`))
}

// TestBrowserAnswers fills in the form of a step that waits: on a phone, with the keyboard
// alone, and where no script runs.
func TestBrowserAnswers(t *testing.T) {
	t.Parallel()
	s, id := newClaims(t, Config{User: func(*http.Request) string { return "ann" }})
	b := newBrowser(s)
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.NoError(t, err)
	b.size(390, "light")
	b.open("/waiting")
	focused := func() string { return js[string](b, `document.activeElement.name ?? ""`) }
	tab := func(to string) {
		for range 100 {
			if focused() == to {
				return
			}
			b.keys(kb.Tab)
		}
		require.Equal(t, to, focused(), "no key leads there")
	}
	require.True(t, js[bool](b, `document.querySelector(".ask").open`), "the only one is open")
	tab("answer.approved")
	b.keys(" ")
	require.Equal(t, "true", js[string](b, `document.querySelector("[name='answer.approved']:checked").value`))
	tab("answer.budget")
	b.keys("o")
	tab("answer.cents")
	b.keys("256")
	tab("answer.comment")
	b.keys("we have <desks>")
	refused, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter))
	require.NoError(t, err)
	require.EqualValues(t, http.StatusUnprocessableEntity, refused.Status)
	require.Equal(t, "cents: it must be 0 to 255", js[string](b, `document.querySelector(".problem").textContent`))
	require.Equal(t, "256", js[string](b, `document.querySelector("[name='answer.cents']").value`))
	require.Equal(t, "we have <desks>", js[string](b, `document.querySelector("[name='answer.comment']").value`))
	require.Equal(t, `"office"`, js[string](b, `document.querySelector("[name='answer.budget']").value`))
	require.LessOrEqual(t, js[float64](b, `document.documentElement.scrollWidth - innerWidth`), 0.0)
	require.Empty(t, js[string](b, clipped))

	tab("answer.cents")
	b.keys("25") // what is focused with the keyboard is selected
	_, err = chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter))
	require.NoError(t, err)
	require.Contains(t, js[string](b, `document.querySelector(".notice").textContent`), "The answer was sent")
	s.deliver()
	require.JSONEq(t, `{"approved": true, "budget": "office", "cents": 25, "comment": "we have <desks>"}`, string(s.state(id, "approve").Output))
	require.Equal(t, "ann", s.state(id, "approve").Wait.AnsweredBy)

	b.open("/runs/" + id)
	tab("answer.yes") // the first of two buttons
	_, err = chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter))
	require.NoError(t, err)
	s.deliver()
	require.JSONEq(t, `{"yes": true}`, string(s.state(id, "seen").Output))
	b.forgetRefusals()
}

// forgetRefusals takes from the problems that a form was refused, as it should be: browsers
// log such a status as an error.
func (b *browser) forgetRefusals() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = slices.DeleteFunc(b.problems, func(p string) bool {
		return strings.Contains(p, "status of 422") && strings.HasSuffix(p, "/answer") || strings.HasSuffix(p, "/nowhere")
	})
}

// TestBrowserKeepsWhatIsWritten changes the page of a run while somebody fills in its form.
func TestBrowserKeepsWhatIsWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	two := spec.Flow{Slug: "claims", Steps: []spec.Step{{Slug: "one", Type: spec.TypeWait}, claims.Steps[0]}}
	_, err := runtime.UpsertFlow(s.ctx, s.pool, two)
	require.NoError(t, err)
	id := s.claim()
	b := newBrowser(s)
	b.size(1440, "light")
	b.open("/runs/" + id)
	require.Equal(t, 2.0, js[float64](b, `document.querySelectorAll(".ask").length`))
	js[bool](b, `document.querySelectorAll(".ask").forEach((a) => { a.open = true; }); document.querySelector("[name='answer.comment']").value = "half a"; true`)
	_, err = runtime.Signal(s.ctx, s.pool, id, "one", nil)
	require.NoError(t, err)
	s.deliver()
	b.wait(`document.querySelectorAll(".ask").length === 1`)
	require.Equal(t, "half a", js[string](b, `document.querySelector("[name='answer.comment']").value`))
	b.wait(`document.querySelector(".graph-wide [data-node=one]").classList.contains("completed")`)
	require.True(t, js[bool](b, `document.querySelector(".graph-wide [data-node=approve]").classList.contains("waiting")`))
}
