package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
)

// TestWeb uploads a photo as a browser does, follows its run, and looks at the
// thumbnails.
func TestWeb(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", func(url string) { ready <- url }) }()
	var url string
	select {
	case url = <-ready:
	case err := <-ended:
		require.NoError(t, err)
	}

	require.Contains(t, string(get(t, url)), "<title>Photos</title>")
	status, answer := post(t, url+"photos?name=red", photo(t, 700, 350))
	require.Equal(t, http.StatusCreated, status)
	var created struct{ ID json.Number }
	require.NoError(t, json.Unmarshal(answer, &created))
	photoURL := url + "photos/" + created.ID.String()

	states := follow(t, photoURL+"/events")
	last := states[len(states)-1]
	require.Equal(t, runtime.RunCompleted, last.Status)
	require.Equal(t, []int{80, 160, 320, 640}, last.Widths)
	require.Equal(t, stepState{Name: "resize", Status: runtime.StepCompleted, Done: 4, Tasks: 4}, last.Steps[1])

	small, err := jpeg.Decode(bytes.NewReader(get(t, photoURL+"/160")))
	require.NoError(t, err)
	require.Equal(t, image.Pt(160, 80), small.Bounds().Size())
	r, _, b, _ := small.At(20, 40).RGBA()
	require.Greater(t, r, b, "the left half is red")
	r, _, b, _ = small.At(140, 40).RGBA()
	require.Greater(t, b, r, "the right half is blue")

	// A photo that is smaller than any thumbnail has none, and is published all the same.
	_, answer = post(t, url+"photos", photo(t, 20, 20))
	require.NoError(t, json.Unmarshal(answer, &created))
	states = follow(t, url+"photos/"+created.ID.String()+"/events")
	require.Equal(t, runtime.RunCompleted, states[len(states)-1].Status)

	status, answer = post(t, url+"photos", []byte("no photo"))
	require.Equal(t, http.StatusUnsupportedMediaType, status)
	require.Equal(t, "this is no JPEG, PNG or GIF of a sensible size\n", string(answer))
	for _, path := range []string{"photos/77/events", "photos/x/events", "photos/1/81", "photos/1/x"} {
		response, err := http.Get(url + path)
		require.NoError(t, err)
		response.Body.Close()
		require.Equal(t, http.StatusNotFound, response.StatusCode, path)
	}

	stop()
	require.NoError(t, <-ended)
}

// photo returns a PNG whose left half is red and whose right half is blue.
func photo(t *testing.T, width, height int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		for y := range height {
			c := color.RGBA{R: 200, A: 255}
			if x >= width/2 {
				c = color.RGBA{B: 200, A: 255}
			}
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return body
}

func post(t *testing.T, url string, body []byte) (int, []byte) {
	t.Helper()
	response, err := http.Post(url, "application/octet-stream", bytes.NewReader(body))
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, answer
}

// follow reads the events of a run until there are no more.
func follow(t *testing.T, url string) []state {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	var states []state
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var s state
			require.NoError(t, json.Unmarshal([]byte(data), &s))
			states = append(states, s)
		}
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, states)
	return states
}
