package tags

import "github.com/flowc-dev/flowc/gen/internal/diag"

// A Place is where a tag stands, or several such places.
type Place int

const (
	OnFlow Place = 1 << iota
	OnJob
	OnStep
	OnMap
	OnWait
)

// keys are the keys of the language, in the order in which they are listed.
var keys = []struct {
	name string
	on   Place
}{
	{"slug", OnFlow | OnJob | OnStep | OnMap | OnWait},
	{"version", OnFlow | OnJob},
	{"package", OnFlow | OnJob},
	{"max_attempts", OnFlow | OnJob | OnStep | OnMap},
	{"base_delay", OnFlow | OnJob | OnStep | OnMap},
	{"timeout", OnFlow | OnJob | OnStep | OnMap | OnWait},
	{"start_delay", OnStep | OnMap},
	{"start_at", OnStep | OnMap},
	{"max_wait", OnJob | OnStep | OnMap},
	{"priority", OnFlow | OnJob | OnStep | OnMap},
	{"tx", OnJob | OnStep | OnMap},
	{"deadline", OnFlow | OnJob},
	{"if", OnStep | OnJob | OnWait},
	{"if_not", OnStep | OnJob | OnWait},
	{"when_unmet", OnStep | OnJob | OnWait},
	{"when_exhausted", OnStep | OnMap | OnJob | OnWait},
	{"from", OnFlow | OnStep | OnWait},
	{"after", OnStep | OnWait},
	{"over", OnMap},
	{"key", OnFlow | OnJob | OnStep | OnMap | OnWait},
	{"concurrency", OnFlow | OnJob | OnStep | OnMap},
	{"rate", OnJob | OnStep | OnMap},
	{"gate", OnJob | OnStep | OnMap},
	{"strict_order", OnJob | OnStep | OnMap},
	{"keep", OnWait},
	{"cron", OnFlow | OnJob},
	{"unique", OnFlow | OnJob},
	{"per", OnFlow | OnJob},
	{"on_duplicate", OnFlow | OnJob},
	{"debounce", OnFlow | OnJob},
	{"debounce_max", OnFlow | OnJob},
}

// elsewhere says what to do about a key that means something in another place.
var elsewhere = map[string]string{
	"if":         "put it on the step that gives the list",
	"if_not":     "put it on the step that gives the list",
	"when_unmet": "put it, with the condition, on the step that gives the list",
}

// notOfWaits says of a key that means something on a step why it does not on a wait.
var notOfWaits = map[string]string{
	"max_attempts": "nobody attempts",
	"base_delay":   "nobody attempts",
	"priority":     "no worker claims",
	"start_delay":  "begins when it is ready",
	"start_at":     "begins when it is ready",
	"tx":           "nobody attempts",
	"concurrency":  "nobody works on",
	"rate":         "nobody works on",
	"gate":         "nobody works on",
	"strict_order": "nobody works on",
}

// notOfFlows says of a key that limits the tasks of a step what it would be to a flow.
var notOfFlows = map[string]string{
	"rate":         "limits how many attempts begin, and a run makes none; put it on the step that makes them",
	"gate":         "names what steps share; put it on these, or leave it out: the runs of a flow have a gate of their own",
	"strict_order": "is of the tasks of a step; runs begin in the order in which they were due without it",
}

// foreign are keys that others read in the tags of their structs, and that look
// like ours to a search for misspelt ones.
var foreign = []string{
	"json", "yaml", "xml", "toml", "bson", "db", "sql", "gorm", "env", "form", "validate", "mapstructure", "msgpack", "default",
	"protobuf", "avro", "csv", "query", "header", "path", "uri", "ini", "hcl", "koanf", "redis", "binding", "doc", "example",
}

// places says where a key may stand.
func places(on Place) string {
	var names []string
	for i, name := range []string{"flow", "job", "step", "map", "wait"} {
		if on&(1<<i) != 0 {
			names = append(names, "a "+name)
		}
	}
	return diag.Enumerate(names, "or")
}
