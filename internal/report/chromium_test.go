//go:build long

package report_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/report"
)

// A real browser shows each sample on a phone and on a desk, in the dark and in
// the light. LIFEBOAT_SHOTS names a directory in which the pictures are kept.
func TestInChromium(t *testing.T) {
	samples := map[string]report.Input{"restored": restored(), "drilled": drilled(), "failed": failed(), "huge": huge()}
	b := startBrowser(t)
	for name, in := range samples {
		path := filepath.Join(t.TempDir(), name+".html")
		if err := os.WriteFile(path, []byte(render(t, in).text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, v := range views() {
			t.Run(name+"/"+v.name(), func(t *testing.T) { b.look(t, path, v) })
		}
	}
}

// view is how a page is looked at.
type view struct {
	width, height int
	scheme        string
	media         string // screen or print
}

func views() []view {
	return []view{
		{360, 800, "dark", "screen"}, {360, 800, "light", "screen"},
		{1200, 900, "dark", "screen"}, {1200, 900, "light", "screen"},
		{720, 1000, "dark", "print"},
	}
}

func (v view) name() string { return fmt.Sprintf("%dx%d-%s-%s", v.width, v.height, v.scheme, v.media) }

// look opens a page and checks what is seen of it, folded and unfolded.
func (b *browser) look(t *testing.T, path string, v view) {
	tab := b.open(t)
	defer tab.close()
	tab.show(v)
	tab.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	tab.wait("Page.loadEventFired")
	if dir := os.Getenv("LIFEBOAT_SHOTS"); dir != "" {
		tab.shoot(filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".html")+"-"+v.name()+".png"))
	}
	tab.check(v, path)
	tab.evaluate(`document.querySelectorAll("details").forEach(d => d.open = true)`, nil)
	tab.check(v, path)
}

// seen is what the script below finds.
type seen struct {
	Width    int
	Outside  []string // elements that reach beyond their card or the right edge
	Contrast []string // texts that are hard to read
	Small    []string // texts that are small
	Styled   bool
}

// script is given the width of the view: a page that is too wide makes the
// browser's own wider.
const script = `(width => {
	const out = {Width: document.documentElement.scrollWidth, Outside: [], Contrast: [], Small: [],
		Styled: getComputedStyle(document.body).maxWidth !== "none" || matchMedia("print").matches};
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m.length > 3 ? m[3] : 1}; };
	const lum = c => [c.r, c.g, c.b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
		.reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
	const paper = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c; } return {r: 255, g: 255, b: 255}; };
	for (const e of document.body.querySelectorAll("*")) {
		const box = e.getBoundingClientRect();
		if (!box.width || !box.height || e.closest("pre, title")) continue;
		const what = e.tagName + " " + e.textContent.trim().slice(0, 40);
		const card = e.closest("section"), edge = card && card !== e ? card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight) : width;
		if (box.right > edge + 1) out.Outside.push(what);
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
		const style = getComputedStyle(e), drawn = e.ownerSVGElement;
		const a = lum(parse(drawn ? style.fill : style.color)), b = lum(paper(drawn ? drawn.parentElement : e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) out.Contrast.push(what + ": " + ratio.toFixed(2));
		if (parseFloat(style.fontSize) < 14 && !matchMedia("print").matches) out.Small.push(what + ": " + style.fontSize);
	}
	return out;
})(%d)`

func (tab *tab) check(v view, path string) {
	t := tab.t
	t.Helper()
	var s seen
	tab.evaluate(fmt.Sprintf(script, v.width), &s)
	if s.Width > v.width || len(s.Outside) > 0 {
		t.Errorf("it scrolls sideways: %d px wide; outside: %q", s.Width, s.Outside)
	}
	if len(s.Contrast) > 0 {
		t.Errorf("too little contrast: %q", s.Contrast)
	}
	if len(s.Small) > 0 {
		t.Errorf("too small: %q", s.Small)
	}
	if !s.Styled {
		t.Error("the styles are not used: their hash is another one")
	}
	for _, e := range tab.events {
		switch e.Method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			t.Errorf("the browser complains: %s", e.Params)
		case "Network.requestWillBeSent":
			var p struct{ Request struct{ URL string } }
			if err := json.Unmarshal(e.Params, &p); err != nil || p.Request.URL != "file://"+path && !strings.HasPrefix(p.Request.URL, "data:") {
				t.Errorf("a request: %s", e.Params)
			}
		}
	}
}

// chromium is the browser, installed if that can be.
func chromium(t *testing.T) string {
	t.Helper()
	name := os.Getenv("LIFEBOAT_CHROMIUM")
	if name == "" {
		name = "chromium"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if _, noApt := exec.LookPath("apt-get"); os.Geteuid() != 0 || noApt != nil {
		t.Skipf("no Chromium: run scripts/chromium as root (%v)", err)
	}
	if out, err := exec.CommandContext(t.Context(), "../../scripts/chromium").CombinedOutput(); err != nil {
		t.Fatalf("scripts/chromium: %v: %s", err, out)
	}
	if path, err = exec.LookPath("chromium"); err != nil {
		t.Fatal(err)
	}
	return path
}

// browser is a Chromium that is told what to do through two pipes: each message
// is JSON with a zero byte behind it.
type browser struct {
	commands, answers *os.File
	in                *bufio.Reader
	last              int // id of a command
}

// message is a command's answer or an event.
type message struct {
	ID        int             `json:"id"`
	SessionID string          `json:"sessionId"`
	Method    string          `json:"method"`
	Params    json.RawMessage `json:"params"`
	Result    json.RawMessage `json:"result"`
	Error     *struct{ Message string }
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--log-level=3", "--user-data-dir=" + t.TempDir(), "--remote-debugging-pipe"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), chromium(t), args...) // it is ended below
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}                                       // 3 and 4
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{commands: ourOut, answers: ourIn, in: bufio.NewReaderSize(ourIn, 1<<20)}
	t.Cleanup(func() {
		// It ends by itself when nobody can tell it anything any more.
		ourOut.Close()
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil && t.Failed() {
			t.Logf("chromium: %v: %s", err, said.String())
		}
		timer.Stop()
		ourIn.Close()
	})
	return b
}

// tab is a page of the browser.
type tab struct {
	*browser
	t       *testing.T
	session string
	target  string
	events  []message
}

func (b *browser) open(t *testing.T) *tab {
	t.Helper()
	tab := &tab{browser: b, t: t}
	var target struct{ TargetID string }
	tab.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	tab.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	tab.target, tab.session = target.TargetID, session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		tab.call(domain+".enable", nil, nil)
	}
	return tab
}

func (tab *tab) close() {
	tab.session = ""
	tab.call("Target.closeTarget", map[string]any{"targetId": tab.target}, nil)
}

func (tab *tab) show(v view) {
	phone := v.width < 500
	tab.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.width, "height": v.height, "deviceScaleFactor": 1, "mobile": phone}, nil)
	tab.call("Emulation.setEmulatedMedia", map[string]any{"media": v.media, "features": []map[string]string{{"name": "prefers-color-scheme", "value": v.scheme}}}, nil)
}

// call sends a command and waits for its answer; events before it are kept.
func (tab *tab) call(method string, params, result any) {
	tab.t.Helper()
	tab.last++
	command := map[string]any{"id": tab.last, "method": method}
	if params != nil {
		command["params"] = params
	}
	if tab.session != "" {
		command["sessionId"] = tab.session
	}
	text, err := json.Marshal(command)
	if err != nil {
		tab.t.Fatal(err)
	}
	if _, err := tab.commands.Write(append(text, 0)); err != nil {
		tab.t.Fatal(err)
	}
	for {
		m := tab.next()
		if m.ID != tab.last {
			continue
		}
		if m.Error != nil {
			tab.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				tab.t.Fatalf("%s: %v", method, err)
			}
		}
		return
	}
}

// next reads a message and keeps it if it is an event of this tab.
func (tab *tab) next() message {
	tab.t.Helper()
	const patience = 2 * time.Minute // the machine may be busy
	if err := tab.answers.SetReadDeadline(time.Now().Add(patience)); err != nil {
		tab.t.Fatal(err)
	}
	text, err := tab.in.ReadBytes(0)
	if err != nil {
		tab.t.Fatalf("chromium: %v", err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		tab.t.Fatal(err)
	}
	if m.Method != "" && m.SessionID == tab.session {
		tab.events = append(tab.events, m)
	}
	return m
}

func (tab *tab) wait(event string) {
	tab.t.Helper()
	for {
		for _, e := range tab.events {
			if e.Method == event {
				return
			}
		}
		tab.next()
	}
}

func (tab *tab) evaluate(expression string, result any) {
	tab.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	tab.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if len(r.ExceptionDetails) > 0 {
		tab.t.Fatalf("%s", r.ExceptionDetails)
	}
	if result != nil {
		if err := json.Unmarshal(r.Result.Value, result); err != nil {
			tab.t.Fatal(err)
		}
	}
}

// shoot takes a picture of the whole page.
func (tab *tab) shoot(path string) {
	tab.t.Helper()
	var r struct{ Data string }
	tab.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &r)
	picture, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(path, picture, 0o600); err != nil {
		tab.t.Fatal(err)
	}
}
