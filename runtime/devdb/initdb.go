package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// accessRules admit whoever can open the socket: its directory is private, and there is no
// other way to the server.
const accessRules = "local all all trust\nlocal replication all trust\n"

// initdb creates a data directory. The directory may exist if it is empty.
func initdb(ctx context.Context, bin Binaries, id identity, data string, more ...string) error {
	if err := os.Mkdir(data, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := id.own(data); err != nil {
		return err
	}
	args := append([]string{
		"-D", data, "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions",
	}, more...)
	cmd := exec.CommandContext(ctx, bin.program("initdb"), args...)
	cmd.Dir = data
	cmd.Env = environ()
	cmd.SysProcAttr = toolAttr(id)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w:\n%s", err, strings.TrimSpace(string(out)))
	}
	return os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(accessRules), 0o600)
}
