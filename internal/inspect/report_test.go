package inspect

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every field of the report is in its documentation.
func TestReportIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/format/inspect.md")
	if err != nil {
		t.Fatal(err)
	}
	var fields func(reflect.Type)
	fields = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Slice, reflect.Pointer:
			fields(typ.Elem())
		case reflect.Struct:
			for f := range typ.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name != "" && !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), `"`+name+`"`) {
					t.Errorf("docs/format/inspect.md does not name the field %s of %s", name, typ.Name())
				}
				if f.Type.PkgPath() != "time" {
					fields(f.Type)
				}
			}
		default:
		}
	}
	fields(reflect.TypeFor[Report]())
}
