package worker

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

// Texts are sent as pgx sends them.
func TestTexts(t *testing.T) {
	t.Parallel()
	theirs, ours := pgtype.NewMap(), pgtype.NewMap()
	useTexts(ours)
	require.IsType(t, textsPlan{}, ours.PlanEncode(pgtype.TextArrayOID, pgtype.BinaryFormatCode, []string{}))
	text := "b"
	for _, value := range []any{
		[]string(nil), []string{}, []string{""}, []string{"a"}, []string{"", "ü, {x}", "NULL", `"\`}, []*string{&text, nil},
	} {
		for _, format := range []int16{pgtype.BinaryFormatCode, pgtype.TextFormatCode} {
			want, err := theirs.Encode(pgtype.TextArrayOID, format, value, []byte("before"))
			require.NoError(t, err)
			got, err := ours.Encode(pgtype.TextArrayOID, format, value, []byte("before"))
			require.NoError(t, err)
			require.Equal(t, want, got, "%#v", value)
		}
	}
}
