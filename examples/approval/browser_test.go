package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/examples/approval/expenses/payclaim"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/flowtest"
)

// TestBrowser approves a claim in a browser, from the form to the result of the flow.
func TestBrowser(t *testing.T) {
	t.Parallel()
	ctx, cancel := chromedp.NewContext(newBrowser(t))
	t.Cleanup(cancel)
	db := flowtest.Database(t)
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(t.Context(), write, db, options{addr: "127.0.0.1:0", patience: 5 * time.Minute, as: "Grace"})
		_ = write.Close()
		ended <- err
	}()
	lines := make(chan string, 100)
	go func() {
		for out := bufio.NewScanner(read); out.Scan(); {
			lines <- strings.TrimSpace(out.Text())
		}
		close(lines)
	}()
	line := func(has string) string {
		for text := range lines {
			if strings.Contains(text, has) {
				return text
			}
		}
		t.Fatal("the program does not print " + has)
		return ""
	}
	page := line("http://")

	name := func(field string) chromedp.CSS { return chromedp.CSS(`#asks [name="answer.` + field + `"]`) }
	require.NoError(t, chromedp.Do(ctx,
		chromedp.EmulateViewport(390, 900),
		chromedp.Navigate(page)))
	waitFor(t, ctx, page, `document.querySelector('#asks [name="answer.approved"]') !== null`)
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#asks").textContent`))
	require.NoError(t, err)
	for _, want := range []string{"train to the customer", "Whether the claim is paid.", "The budget that pays it.", "What the employee is told."} {
		require.Contains(t, shown, want)
	}
	_, err = chromedp.RunResponse(ctx,
		chromedp.Click(chromedp.CSS(`#asks label:has([name="answer.approved"][value="true"]) span`)),
		chromedp.SetValue(name("budget"), `"travel"`),
		chromedp.SendKeys(name("comment"), "have a good trip"),
		chromedp.Click(chromedp.CSS(`#asks button[type=submit].primary`)))
	require.NoError(t, err)

	require.Equal(t, "Grace has approved it: 123.80 € are paid by the budget for travel", line("approved it"))
	require.NoError(t, <-ended)
	id := page[strings.LastIndex(page, "/")+1:]
	info, err := runtime.GetRun(t.Context(), db, id, runtime.WithStates())
	require.NoError(t, err)
	require.Equal(t, runtime.RunCompleted, info.Status)
	for _, state := range info.States {
		if state.Step == payclaim.StepApprove {
			require.Equal(t, "Grace", state.Wait.AnsweredBy)
			require.JSONEq(t, `{"approved": true, "budget": "travel", "comment": "have a good trip"}`, string(state.Output))
		}
	}
}

// waitFor opens a page again until something is true of it.
func waitFor(t *testing.T, ctx context.Context, page, condition string) {
	t.Helper()
	require.Eventually(t, func() bool {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
		if err == nil && !ok {
			err = chromedp.Do(ctx, chromedp.Navigate(page))
		}
		require.NoError(t, err)
		return ok
	}, time.Minute, 200*time.Millisecond)
}

// newBrowser starts Chromium. Where there is none the test is skipped, unless FLOWC_BROWSER
// is "required".
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			ctx, stop := chromedp.NewExecAllocator(context.Background(),
				append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU)...)
			t.Cleanup(stop)
			return ctx
		}
	}
	if os.Getenv("FLOWC_BROWSER") == "required" {
		t.Fatal("there is no Chromium in PATH, and FLOWC_BROWSER requires one: apt-get install chromium")
	}
	t.Skip("needs a Chromium in PATH: apt-get install chromium")
	return nil
}
