package gtid

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

// unhex reads hex with spaces.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

const uaHex = "3e11fa4771ca11e19e33c80aa9429562 "

func TestPreviousGTIDs(t *testing.T) {
	for _, c := range []struct{ name, hex, set string }{
		{"empty", "0000000000000000", ""},
		{
			"untagged", "0100000000000000 " + uaHex + "0200000000000000" +
				"0100000000000000 0600000000000000 0700000000000000 0800000000000000",
			ua + ":1-5:7",
		},
		{
			"tagged: 1 in the outer bytes, the count between; the untagged record has an empty tag",
			"01 020000000000 01" +
				uaHex + "00 0100000000000000 0100000000000000 0300000000000000" +
				uaHex + "08 626c7565 0100000000000000 0900000000000000 0a00000000000000",
			ua + ":1-2:blue:9",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := DecodePreviousGTIDs(unhex(c.hex))
			if err != nil || set.String() != c.set {
				t.Fatalf("got %v, %v", set, err)
			}
			body, err := EncodePreviousGTIDs(set)
			if err != nil || !slices.Equal(body, unhex(c.hex)) {
				t.Errorf("encodes as %x, %v", body, err)
			}
			for i := range body {
				if got, err := DecodePreviousGTIDs(body[:i]); !errors.Is(err, ErrEncoding) {
					t.Errorf("cut to %d bytes: %v, %v", i, got, err)
				}
			}
		})
	}
}

func TestPreviousGTIDsRefused(t *testing.T) {
	for _, c := range []struct{ name, hex string }{
		{"unknown format", "0000000000000002"},
		{"bytes left over", "0000000000000000 00"},
		{"count beyond the body", "ffffffffffffff00"},
		{"interval count beyond the body", "0100000000000000" + uaHex + "ffffffffffffffff"},
		{"interval from zero", "0100000000000000" + uaHex + "0100000000000000 0000000000000000 0300000000000000"},
		{"empty interval", "0100000000000000" + uaHex + "0100000000000000 0300000000000000 0300000000000000"},
		{"negative end", "0100000000000000" + uaHex + "0100000000000000 0300000000000000 ffffffffffffffff"},
		{"touching intervals", "0100000000000000" + uaHex + "0200000000000000" +
			"0100000000000000 0200000000000000 0200000000000000 0300000000000000"},
		{"bad tag", "01 010000000000 01" + uaHex + "02 2d 0100000000000000 0100000000000000 0300000000000000"},
		{"tag length of two bytes", "01 010000000000 01" + uaHex + "01 01 61 0000000000000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if set, err := DecodePreviousGTIDs(unhex(c.hex)); !errors.Is(err, ErrEncoding) {
				t.Errorf("got %v, %v", set, err)
			}
		})
	}
	if _, err := EncodePreviousGTIDs(mariadb("0-1-1")); err == nil {
		t.Error("a position was encoded")
	}
}

func TestGTIDList(t *testing.T) {
	for _, c := range []struct {
		name, hex, list string
		flags           ListFlags
	}{
		{"empty, padded", "00000000 0000", "", 0},
		{
			"two servers of a domain in the server's order", "02000000" +
				"00000000 01000000 6400000000000000 00000000 02000000 6300000000000000",
			"0-1-100,0-2-99", 0,
		},
		{"flags", "01000030 07000000 01000000 0100000000000000", "7-1-1", ListUntilReached | ListIgnoreGTIDs},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := ParseList(c.list)
			if err != nil {
				t.Fatal(err)
			}
			ids, flags, err := DecodeGTIDList(unhex(c.hex))
			if err != nil || !slices.Equal(ids, want) || flags != c.flags {
				t.Fatalf("got %v, %v, %v", ids, flags, err)
			}
			if body := EncodeGTIDList(ids, flags); !slices.Equal(body, unhex(c.hex)) {
				t.Errorf("encodes as %x", body)
			}
		})
	}
	for _, s := range []string{"", "000000", "01000000", "ffffff0f 00", "00000000 000000", "01000000 00000000 00000000 0000000000000000 00"} {
		if ids, _, err := DecodeGTIDList(unhex(s)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%q: %v, %v", s, ids, err)
		}
	}
}

// FuzzDecodePreviousGTIDs: what decodes encodes to the same set.
func FuzzDecodePreviousGTIDs(f *testing.F) {
	f.Add(unhex("0100000000000000" + uaHex + "0100000000000000 0100000000000000 0600000000000000"))
	f.Add(unhex("01 010000000000 01" + uaHex + "0262 0100000000000000 0900000000000000 0a00000000000000"))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := DecodePreviousGTIDs(body)
		if err != nil {
			return
		}
		again, err := EncodePreviousGTIDs(set)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodePreviousGTIDs(again)
		if err != nil || !back.Equal(set) {
			t.Fatalf("%v came back as %v, %v", set, back, err)
		}
	})
}

// FuzzDecodeGTIDList: what decodes encodes to the same list.
func FuzzDecodeGTIDList(f *testing.F) {
	f.Add(unhex("01000030 07000000 01000000 0100000000000000"))
	f.Fuzz(func(t *testing.T, body []byte) {
		ids, flags, err := DecodeGTIDList(body)
		if err != nil {
			return
		}
		back, backFlags, err := DecodeGTIDList(EncodeGTIDList(ids, flags))
		if err != nil || !slices.Equal(back, ids) || backFlags != flags {
			t.Fatalf("%v came back as %v, %v", ids, back, err)
		}
	})
}
