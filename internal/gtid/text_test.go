package gtid

import (
	"encoding/json"
	"errors"
	"testing"
)

const (
	ua = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	ub = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
)

func TestParseSetPrintsTheServersNormalForm(t *testing.T) {
	for _, c := range []struct {
		name   string
		flavor Flavor
		in     string
		want   string
	}{
		{"empty", MySQL, "", ""},
		{"only commas and space", MySQL, " , ,\n", ""},
		{"one", MySQL, ua + ":1", ua + ":1"},
		{"upper case", MySQL, "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-3", ua + ":1-3"},
		{"touching intervals unite", MySQL, ua + ":1-3:4-5:7", ua + ":1-5:7"},
		{"any order", MySQL, ua + ":7:1-3:2-5", ua + ":1-5:7"},
		{"lines as SHOW prints them", MySQL, ub + ":2,\n" + ua + ":1", ua + ":1," + ub + ":2"},
		{"white space", MySQL, " " + ua + " : 1 - 3 : 5 ", ua + ":1-3:5"},
		{"same uuid twice", MySQL, ua + ":1," + ua + ":2", ua + ":1-2"},
		{"empty interval", MySQL, ua + ":5-4", ""},
		{"uuid alone", MySQL, ua, ""},
		{"tag", MySQL, ua + ":Blue:1-3", ua + ":blue:1-3"},
		{"tags after plain", MySQL, ua + ":1-3:blue:1:_x9:4-5", ua + ":1-3:_x9:4-5:blue:1"},
		{"greatest number", MySQL, ua + ":9223372036854775806", ua + ":9223372036854775806"},
		{"empty position", MariaDB, "", ""},
		{"position", MariaDB, "1-2-3, 0-1-100", "0-1-100,1-2-3"},
		{"zero", MariaDB, "0-0-0", "0-0-0"},
		{"greatest ids", MariaDB, "4294967295-4294967295-18446744073709551615", "4294967295-4294967295-18446744073709551615"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := ParseSet(c.flavor, c.in)
			if err != nil {
				t.Fatal(err)
			}
			if set.String() != c.want {
				t.Errorf("got %q, want %q", set.String(), c.want)
			}
			if set.IsEmpty() != (c.want == "") {
				t.Errorf("IsEmpty is %v", set.IsEmpty())
			}
			again, err := Parse(c.in)
			if err != nil || !again.Equal(set) {
				t.Errorf("with the flavor guessed: %v, %v", again, err)
			}
			back, err := ParseSet(c.flavor, set.String())
			if err != nil || !back.Equal(set) {
				t.Errorf("read back: %v, %v", back, err)
			}
		})
	}
}

func TestParseSetRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		flavor Flavor
		in     string
	}{
		{"no uuid", MySQL, "1-3"},
		{"short uuid", MySQL, ua[1:] + ":1"},
		{"uuid with other digits", MySQL, "zz" + ua[2:] + ":1"},
		{"zero", MySQL, ua + ":0"},
		{"zero to one", MySQL, ua + ":0-1"},
		{"octal to the server", MySQL, ua + ":010"},
		{"sign", MySQL, ua + ":+1"},
		{"beyond the last number", MySQL, ua + ":9223372036854775807"},
		{"far beyond", MySQL, ua + ":1-99999999999999999999"},
		{"empty item", MySQL, ua + ":1::2"},
		{"open range", MySQL, ua + ":1-"},
		{"tag too long", MySQL, ua + ":abcdefghijklmnopqrstuvwxyz0123456:1"},
		{"tag with a dash", MySQL, ua + ":a-b:1"},
		{"position in a MySQL set", MySQL, "0-1-2"},
		{"domain twice", MariaDB, "0-1-2,0-2-3"},
		{"two parts", MariaDB, "0-1"},
		{"domain too great", MariaDB, "4294967296-1-1"},
		{"sequence too great", MariaDB, "0-1-18446744073709551616"},
		{"uuid in a position", MariaDB, ua + ":1"},
		{"unknown flavor", 0, "0-1-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if set, err := ParseSet(c.flavor, c.in); err == nil {
				t.Errorf("accepted as %v", set)
			}
		})
	}
}

func TestParseTellsFlavorsApart(t *testing.T) {
	for in, want := range map[string]Flavor{
		"": 0, " ,\n": 0, "0-1-2": MariaDB, ua + ":1": MySQL, "\n" + ua + ":1": MySQL, ua: MySQL,
	} {
		set, err := Parse(in)
		if err != nil || set.Flavor() != want {
			t.Errorf("%q: %v, %v; want %v", in, set.Flavor(), err, want)
		}
	}
	if _, err := Parse("no-such"); !errors.Is(err, ErrSyntax) {
		t.Errorf("garbage: %v", err)
	}
}

func TestIDsRoundTrip(t *testing.T) {
	for _, c := range []struct {
		flavor Flavor
		s      string
	}{
		{MySQL, ua + ":7"}, {MySQL, ua + ":blue:7"}, {MariaDB, "1-2-3"},
	} {
		id, err := ParseID(c.flavor, c.s)
		if err != nil || id.String() != c.s {
			t.Errorf("%s: %v, %v", c.s, id, err)
		}
	}
	for _, s := range []string{"", ua, ua + ":", ua + ":0", ua + ":1-2", ua + ":a:b:1", ua + "::1", "1-2-3"} {
		if id, err := ParseID(MySQL, s); err == nil {
			t.Errorf("%q accepted as %v", s, id)
		}
	}
	for _, s := range []string{"", "1", "1-2", "1-2-3-4", "a-b-c", "1--2"} {
		if id, err := ParseID(MariaDB, s); err == nil {
			t.Errorf("%q accepted as %v", s, id)
		}
	}
	if uuid, err := ParseUUID(ua); err != nil || FormatUUID(uuid) != ua {
		t.Errorf("UUID: %v, %v", uuid, err)
	}
}

func TestSetTravelsInJSON(t *testing.T) {
	type doc struct{ Executed Set }
	for _, s := range []string{"", "0-1-2,7-1-9", ua + ":1-3:blue:4"} {
		in := doc{must(Parse(s))}
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out doc
		if err := json.Unmarshal(text, &out); err != nil || !out.Executed.Equal(in.Executed) {
			t.Errorf("%s: %v, %v", text, out.Executed, err)
		}
	}
}

// FuzzParse: whatever is accepted prints as something that reads back the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "0-1-2", ua + ":1-3:5", ua + ":a:1-3,\n" + ub + ":1", "1-2-3,4-5-6"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := Parse(s)
		if err != nil {
			return
		}
		back, err := Parse(set.String())
		if err != nil || !back.Equal(set) {
			t.Fatalf("%q → %v → %v, %v", s, set, back, err)
		}
	})
}

func must(s Set, err error) Set {
	if err != nil {
		panic(err)
	}
	return s
}
