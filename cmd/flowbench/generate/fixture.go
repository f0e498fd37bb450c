package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// payloads are the types that every unit of every system is about.
const payloads = `
type Order struct {
	ID    string
	Lines []Line
	At    time.Time
	Total int64
	Notes map[string]string
}

type Line struct {
	SKU   string
	Count int
	Price float64
}

type Checked struct {
	Order  Order
	OK     bool
	Notify bool
}

type Receipt struct {
	ID   string
	Paid time.Time
}

type Parcel struct {
	ID    string
	Grams int
}

type Shipment struct {
	Tracking string
	Parcels  []Parcel
}
`

const module = "module example.com/bench\n\ngo 1.26.0\n"

func folders(units int) (list []string) {
	for i := range units {
		list = append(list, fmt.Sprintf("./p%d", i))
	}
	return list
}

// flowFiles are packages that declare a flow of six steps each, two of which
// wait for several others.
func flowFiles(root string, units int) map[string]string {
	ours, _ := os.ReadFile(filepath.Join(root, "go.sum")) // if it is missing, the go command says so
	files := map[string]string{
		"go.mod": module + "\nrequire github.com/flowc-dev/flowc v0.0.0\n\nreplace github.com/flowc-dev/flowc => " + root + "\n",
		"go.sum": string(ours),
	}
	for i := range units {
		files[fmt.Sprintf("p%d/flow.go", i)] = fmt.Sprintf(`// Package p%[1]d declares a flow.
package p%[1]d

import (
	"time"

	"github.com/flowc-dev/flowc/dsl"
)

// ProcessOrder%[1]d takes an order from checkout to the courier.
type ProcessOrder%[1]d struct {
	dsl.Flow[Order, Shipment] %[2]smax_attempts:"3" timeout:"60s"%[2]s

	// Validate checks the stock and the total.
	Validate dsl.Step[Order, Checked]
	// Lines lists what has to be packed.
	Lines dsl.Step[Checked, []Line]
	// Charge takes the payment.
	Charge dsl.Step[Checked, Receipt] %[2]smax_attempts:"5" base_delay:"1s"%[2]s
	// Pack packs one line of the order.
	Pack dsl.Map[Line, Parcel]
	// Ship books the courier, once the payment and every parcel are in.
	Ship dsl.Step[ShipInput, Shipment]
	// Notify mails the customer, if they asked for it.
	Notify dsl.Step[NotifyInput, dsl.None] %[2]sif:"Validate.Notify" when_exhausted:"skip"%[2]s
}

type ShipInput struct {
	Input  Order
	Charge Receipt
	Pack   []Parcel
}

type NotifyInput struct {
	Validate Checked
	Ship     Shipment
}
`, i, "`") + payloads
	}
	return files
}

// converterFiles are packages with an interface for goverter each, of six
// methods between these types and their copies.
func converterFiles(units int) map[string]string {
	files := map[string]string{"go.mod": module}
	names := []string{"Order", "Line", "Checked", "Receipt", "Parcel", "Shipment"}
	copies := payloads
	for _, name := range names {
		copies = strings.NewReplacer("type "+name+" ", "type "+name+"Copy ", "]"+name+"\n", "]"+name+"Copy\n", " "+name+"\n", " "+name+"Copy\n").Replace(copies)
	}
	var methods strings.Builder
	for _, name := range names {
		fmt.Fprintf(&methods, "\t%[1]s(in %[1]s) %[1]sCopy\n", name)
	}
	for i := range units {
		files[fmt.Sprintf("p%d/convert.go", i)] = fmt.Sprintf("package p%d\n\nimport \"time\"\n\n// goverter:converter\n// goverter:skipCopySameType\ntype Converter interface {\n%s}\n",
			i, &methods) + payloads + copies
	}
	return files
}

// interfaceFiles are interfaces of six methods: each in a package of its own,
// or all in one.
func interfaceFiles(units int, together bool) map[string]string {
	files := map[string]string{"go.mod": module}
	config := "force-file-write: true\ntemplate: matryer\ndir: '{{.InterfaceDir}}/mocks'\nfilename: mocks.go\npkgname: mocks\npackages:\n"
	head := "package p%d\n\nimport (\n\t\"context\"\n\t\"time\"\n)\n"
	all := fmt.Sprintf(head, 0) + payloads
	for i := range units {
		service := fmt.Sprintf(`
type Service%d interface {
	Validate(ctx context.Context, in Order) (Checked, error)
	Lines(ctx context.Context, in Checked) ([]Line, error)
	Charge(ctx context.Context, in Checked) (Receipt, error)
	Pack(ctx context.Context, item Line) (Parcel, error)
	Ship(ctx context.Context, order Order, receipt Receipt, parcels []Parcel) (Shipment, error)
	Notify(ctx context.Context, checked Checked, shipment Shipment) error
}
`, i)
		all += service
		files[fmt.Sprintf("p%d/service.go", i)] = fmt.Sprintf(head, i) + payloads + service
		config += fmt.Sprintf("  example.com/bench/p%d: {config: {all: true}}\n", i)
	}
	if together {
		return map[string]string{"go.mod": module, "p0/service.go": all}
	}
	files[".mockery.yml"] = config
	return files
}
