package devdb

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// imagesKept bounds the cache: every change of a seed adds an image of some 40 MB.
const imagesKept = 6

// An image is a data directory, cleanly shut down, in one file of the user's cache: one file
// exists entirely or not at all, and copying it is several times faster than creating its
// content.
type image struct{ path string } // empty: there is no cache

// newImage names the image of a seed, or of a fresh database, for a server.
func newImage(bin Binaries, seed string) image {
	cache, err := os.UserCacheDir()
	if err != nil {
		return image{}
	}
	sum := sha256.Sum256([]byte(bin.build + "\x00" + seed))
	name := fmt.Sprintf("%s-%s.tar", bin.Version, hex.EncodeToString(sum[:8]))
	return image{filepath.Join(cache, "flowc", "postgres", name)}
}

// restoreOr creates the data directory of a database from the image, or creates it anew
// and then saves the image. Problems with the cache only cost time.
func (im image) restoreOr(db *DB, produce func() error) error {
	data := dataDir(db.dir)
	err := im.restore(data, db.identity)
	if err == nil {
		return nil
	}
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) && im.path != "" {
		_ = os.Remove(im.path) // a broken one
	}
	if err := produce(); err != nil {
		return err
	}
	_ = im.save(data)
	return nil
}

// restore writes the image's content to a new directory that an identity owns.
func (im image) restore(data string, id identity) error {
	f, err := os.Open(im.path)
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now()
	_ = os.Chtimes(im.path, now, now) // images in use stay in the cache

	archive := tar.NewReader(f)
	buf := make([]byte, len(zeros))
	complete := false
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("the image has an entry %q", h.Name)
		}
		path := filepath.Join(data, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, h.FileInfo().Mode().Perm())
		} else {
			err = restoreFile(path, h, archive, buf)
		}
		if err != nil {
			return err
		}
		if err := id.own(path); err != nil {
			return err
		}
		complete = h.Name == lastEntry
	}
	if !complete {
		return errors.New("the image is not complete")
	}
	return nil
}

// restoreFile writes one file. Most of the log is zeros, which need no memory.
func restoreFile(path string, h *tar.Header, content io.Reader, buf []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	defer f.Close()
	hole := false
	for at := int64(0); at < h.Size; {
		part := buf[:min(int64(len(buf)), h.Size-at)]
		if _, err := io.ReadFull(content, part); err != nil {
			return err
		}
		if hole = bytes.Equal(part, zeros[:len(part)]); !hole {
			if _, err := f.WriteAt(part, at); err != nil {
				return err
			}
		}
		at += int64(len(part))
	}
	if hole {
		err = f.Truncate(h.Size)
	}
	return errors.Join(err, f.Close())
}

var zeros [64 << 10]byte

// lastEntry is the last one of every image: PostgreSQL does not start without it.
const lastEntry = "PG_VERSION"

// save creates the image from the data directory of a stopped server.
func (im image) save(data string) error {
	if im.path == "" {
		return errors.New("there is no cache directory")
	}
	dir := filepath.Dir(im.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(writeImage(f, data), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), im.path); err != nil {
		return err
	}
	prune(dir)
	return nil
}

func writeImage(w io.Writer, data string) error {
	archive := tar.NewWriter(w)
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, path)
		if err != nil || name == lastEntry {
			return err
		}
		return addEntry(archive, path, filepath.ToSlash(name), entry)
	})
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(data, lastEntry))
	if err != nil {
		return err
	}
	if err := addEntry(archive, filepath.Join(data, lastEntry), lastEntry, fs.FileInfoToDirEntry(info)); err != nil {
		return err
	}
	return archive.Close()
}

func addEntry(archive *tar.Writer, path, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither file nor directory", path)
	}
	// Owner and times do not matter, and their look-up costs.
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Typeflag: tar.TypeDir}
	if info.IsDir() {
		h.Name += "/"
		return archive.WriteHeader(h)
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(archive, f)
	return err
}

// prune removes the images that were not used for longest.
func prune(dir string) {
	var images []fs.FileInfo
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			images = append(images, info)
		}
	}
	slices.SortFunc(images, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range images[min(imagesKept, len(images)):] {
		_ = os.Remove(filepath.Join(dir, old.Name()))
	}
}
