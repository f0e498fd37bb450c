package devdb

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// An identity is a user that PostgreSQL's programs can run as: they refuse to
// run as root.
type identity struct {
	name     string
	drop     bool // run as uid and gid, not as ourselves
	uid, gid int
	// userNamespace means that root outside is uid inside: it works where root
	// may not change its user, and for programs in a directory that only root may
	// enter.
	userNamespace bool
}

// ownerID returns the user who owns the files of an identity, seen from outside.
func (id identity) ownerID() int {
	if id.drop && !id.userNamespace {
		return id.uid
	}
	return os.Geteuid()
}

// own changes the owner of a file to the identity.
func (id identity) own(path string) error {
	if !id.drop || id.userNamespace {
		return nil
	}
	return os.Lchown(path, id.uid, id.gid)
}

// chooseIdentity finds the first identity that can run the programs on the data
// of a directory.
func chooseIdentity(ids []identity, bin Binaries, dir string) (identity, error) {
	if len(ids) == 1 && !ids[0].drop {
		return ids[0], nil
	}
	var faults []string
	for _, id := range ids {
		err := id.probe(bin, dir)
		if err == nil {
			return id, nil
		}
		faults = append(faults, fmt.Sprintf("  as %s: %v", id.name, err))
	}
	return identity{}, fmt.Errorf("PostgreSQL does not run as root, and no other way works here:\n%s\nWays out:\n"+
		"  set DATABASE_URL to a PostgreSQL that runs already, or\n"+
		"  see that user postgres exists and can pass to %s and %s, or\n"+
		"  run this program as an ordinary user",
		strings.Join(faults, "\n"), bin.Dir, dir)
}

// probe checks that the identity can reach the programs and the directory.
func (id identity) probe(bin Binaries, dir string) error {
	probe, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return err
	}
	defer os.Remove(probe)
	if err := id.own(probe); err != nil {
		return err
	}
	cmd := exec.Command(bin.program("postgres"), "--version")
	cmd.Dir = probe
	cmd.Env = environ()
	cmd.SysProcAttr = toolAttr(id)
	return cmd.Run()
}

// ownedPrivate checks that a directory that may have existed before is a directory,
// belongs to us or to the identity, and is closed to others.
func ownedPrivate(path string, id identity) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s exists and is not a directory", path)
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() && owner != id.ownerID() {
		return fmt.Errorf("%s belongs to another user", path)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return errors.Join(errors.New("cannot make it private"), err)
	}
	return nil
}
