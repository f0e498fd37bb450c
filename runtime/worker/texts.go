package worker

import (
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// texts is the codec of text[], which is half of what reports send. It makes room once
// and writes the strings into it, where pgx makes a value of each on the heap and has
// the room grow with them.
type texts struct{ pgtype.Codec }

// useTexts has a connection's texts encoded so.
func useTexts(types *pgtype.Map) {
	if known, ok := types.TypeForOID(pgtype.TextArrayOID); ok {
		types.RegisterType(&pgtype.Type{Name: known.Name, OID: known.OID, Codec: texts{known.Codec}})
	}
}

func (c texts) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.([]string); ok && format == pgtype.BinaryFormatCode {
		return textsPlan{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

type textsPlan struct{}

// Encode writes how many dimensions there are, that nothing is NULL, the type of the
// elements, how many there are and the number of the first; then each, after its size.
func (textsPlan) Encode(value any, buf []byte) ([]byte, error) {
	all := value.([]string)
	header := [...]uint32{1, 0, pgtype.TextOID, uint32(len(all)), 1}
	size := 4 * len(header)
	for _, s := range all {
		size += 4 + len(s)
	}
	buf = slices.Grow(buf, 2*size) // the rest of a report is about as much again
	for _, n := range header {
		buf = binary.BigEndian.AppendUint32(buf, n)
	}
	for _, s := range all {
		buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(s))), s...)
	}
	return buf, nil
}
