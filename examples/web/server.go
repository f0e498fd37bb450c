package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/web/album"
	"github.com/flowc-dev/flowc/examples/web/album/processphoto"
	"github.com/flowc-dev/flowc/runtime"
)

//go:embed page.html
var page []byte

const (
	// mostBytes is how long a photo may be, mostPixels how large.
	mostBytes  = 16 << 20
	mostPixels = 50_000_000
)

// routes returns the pages of the service.
func routes(db *pgxpool.Pool) http.Handler {
	s := &service{db}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("POST /photos", reporting(s.upload))
	mux.HandleFunc("GET /photos/{id}/events", reporting(s.events))
	mux.HandleFunc("GET /photos/{id}/{width}", reporting(s.thumbnail))
	return http.NewCrossOriginProtection().Handler(mux)
}

type service struct{ db *pgxpool.Pool }

// A refusal is an error of the visitor, with an HTTP status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

var errNoPhoto = &refusal{http.StatusNotFound, "there is no such photo"}

func reporting(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := serve(w, r)
		var refused *refusal
		switch {
		case err == nil || r.Context().Err() != nil:
		case errors.As(err, &refused):
			http.Error(w, refused.text, refused.status)
		default:
			slog.ErrorContext(r.Context(), "web", "path", r.URL.Path, "error", err)
			http.Error(w, "something went wrong", http.StatusInternalServerError)
		}
	}
}

// upload stores a photo and starts the run that processes it: both, or neither.
func (s *service) upload(w http.ResponseWriter, r *http.Request) error {
	file, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBytes))
	if err != nil {
		return &refusal{http.StatusRequestEntityTooLarge, "the photo is too long"}
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil || config.Width*config.Height > mostPixels {
		return &refusal{http.StatusUnsupportedMediaType, "this is no JPEG, PNG or GIF of a sensible size"}
	}
	var id int64
	err = pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
		err := tx.QueryRow(r.Context(), `INSERT INTO photos (name, image) VALUES ($1, $2) RETURNING id`,
			r.URL.Query().Get("name"), file).Scan(&id)
		if err != nil {
			return err
		}
		run, err := processphoto.StartProcessPhoto(r.Context(), tx, album.Photo{ID: id})
		if err != nil {
			return err
		}
		_, err = tx.Exec(r.Context(), `UPDATE photos SET run_id = $1::text::uuid WHERE id = $2`, run.ID(), id)
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	return json.NewEncoder(w).Encode(map[string]int64{"id": id})
}

// A state is what the page shows of a run.
type state struct {
	Status runtime.RunStatus `json:"status"`
	Steps  []stepState       `json:"steps"`
	Error  string            `json:"error,omitempty"`
	// Widths are those of the thumbnails, once the photo is published.
	Widths []int `json:"widths,omitempty"`
}

type stepState struct {
	Name   string             `json:"name"`
	Status runtime.StepStatus `json:"status"`
	Done   int                `json:"done"`
	Tasks  int                `json:"tasks"`
}

// pollEvery is how often a run is read while a page follows it.
const pollEvery = 200 * time.Millisecond

// events streams the progress of a photo's run, until it ends.
func (s *service) events(w http.ResponseWriter, r *http.Request) error {
	var run string
	err := s.db.QueryRow(r.Context(), `SELECT run_id::text FROM photos WHERE id = $1`, photoID(r)).Scan(&run)
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoPhoto
	} else if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	said := ""
	for {
		now, err := s.look(r.Context(), run, photoID(r))
		if err != nil {
			return err
		}
		text, err := json.Marshal(now)
		if err != nil {
			return err
		}
		if string(text) != said {
			said = string(text)
			fmt.Fprintf(w, "data: %s\n\n", text)
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
		if now.Status.Ended() {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-time.After(pollEvery):
		}
	}
}

func (s *service) look(ctx context.Context, run string, photo int64) (state, error) {
	info, err := runtime.GetRun(ctx, s.db, run, runtime.WithStates(), runtime.WithoutPayloads())
	if err != nil {
		return state{}, err
	}
	now := state{Status: info.Status, Error: info.Error}
	for _, st := range info.States {
		step := stepState{Name: st.Step, Status: st.Status}
		if st.InitialTasks != nil {
			step.Tasks = *st.InitialTasks
			if st.RemainingTasks != nil {
				step.Done = step.Tasks - *st.RemainingTasks
			}
		}
		now.Steps = append(now.Steps, step)
	}
	if info.Status == runtime.RunCompleted {
		rows, err := s.db.Query(ctx, `SELECT width FROM thumbnails WHERE photo_id = $1 ORDER BY width`, photo)
		if err != nil {
			return state{}, err
		}
		if now.Widths, err = pgx.CollectRows(rows, pgx.RowTo[int]); err != nil {
			return state{}, err
		}
	}
	return now, nil
}

func (s *service) thumbnail(w http.ResponseWriter, r *http.Request) error {
	width, err := strconv.Atoi(r.PathValue("width"))
	if err != nil {
		return errNoPhoto
	}
	var file []byte
	err = s.db.QueryRow(r.Context(), `
		SELECT t.image FROM thumbnails t JOIN photos p ON p.id = t.photo_id AND p.published
		WHERE t.photo_id = $1 AND t.width = $2`, photoID(r), width).Scan(&file)
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoPhoto
	} else if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, err = w.Write(file)
	return err
}

// photoID returns the id in a path; no photo has the id 0.
func photoID(r *http.Request) int64 {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	return id
}
