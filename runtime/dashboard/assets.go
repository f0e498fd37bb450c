package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/flowc-dev/flowc/runtime/dag"
)

//go:embed assets
var assetFiles embed.FS

// assets are the scripts, styles and pictures. Their address contains their version, so
// that browsers may cache them for ever.
type assets struct {
	files   map[string][]byte
	version string
}

func newAssets() *assets {
	a := &assets{files: map[string][]byte{}}
	sum := sha256.New()
	names, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, file := range names {
		content, err := fs.ReadFile(assetFiles, "assets/"+file.Name())
		if err != nil {
			panic(err)
		}
		if file.Name() == "app.css" {
			content = append([]byte(dag.CSS()+"\n"), content...)
		}
		a.files[file.Name()] = content
		sum.Write(content)
	}
	a.version = hex.EncodeToString(sum.Sum(nil)[:6])
	return a
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	content, ok := a.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	if r.URL.Query().Get("v") == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
