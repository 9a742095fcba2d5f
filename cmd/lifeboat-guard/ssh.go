package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func sshCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh",
		Short: "Forced command of an SSH key: only exec, check and status",
		Long: `Runs what SSH_ORIGINAL_COMMAND asks for, if it is exec, check or status. The text
is split at spaces and never given to a shell; a word with any character that
a shell would take for more than itself is refused. A signed request comes by
standard input (--request -).`,
		Example: `  # authorized_keys
  restrict,command="/usr/bin/lifeboat-guard ssh" ssh-ed25519 AAAA... upgrade@control

  ssh db17 exec reboot --request - -- /usr/bin/systemctl reboot < request.json`,
		Args: exactArgs(0, "ssh takes no arguments: they come in SSH_ORIGINAL_COMMAND"),
		RunE: func(c *cobra.Command, _ []string) error {
			words, err := splitForced(os.Getenv("SSH_ORIGINAL_COMMAND"))
			if err != nil {
				return usage(err)
			}
			root := c.Root()
			root.SetArgs(words)
			return root.ExecuteContext(c.Context())
		},
	}
}

// forcedVerbs are the commands that may come through SSH, forcedFlags their
// flags: none that reads a file or reaches another socket.
var (
	forcedVerbs = []string{"exec", "check", "status"}
	forcedFlags = []string{"--json", "--explain", "--device", "--request", "--override"}
)

// maxForced bounds the text.
const maxForced = 64 << 10

// splitForced splits the command text of an SSH client into the arguments of
// this program.
func splitForced(text string) ([]string, error) {
	if len(text) > maxForced {
		return nil, fmt.Errorf("the command has %d bytes, at most %d", len(text), maxForced)
	}
	for _, r := range text {
		if !plain(r) { //check:ssh-plain-words
			return nil, fmt.Errorf("the command holds %q: only letters, digits, spaces and _./:=@%%+,- may stand in it", r)
		}
	}
	words := strings.Fields(text)
	if len(words) > 0 && words[0] == "lifeboat-guard" {
		words = words[1:]
	}
	if len(words) == 0 || !slices.Contains(forcedVerbs, words[0]) { //check:ssh-verbs
		return nil, fmt.Errorf("only %s may be asked for through SSH", strings.Join(forcedVerbs, ", "))
	}
	return words, checkForcedFlags(words[1:])
}

// checkForcedFlags looks at the flags before the two hyphens; what follows them
// is the command, which the agent judges. A flag's value is taken as the flag
// parser takes it, and must not look like a flag or the hyphens itself.
func checkForcedFlags(words []string) error {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" {
			return nil
		}
		if !strings.HasPrefix(word, "-") {
			continue
		}
		flag, value, joined := strings.Cut(word, "=")
		if !slices.Contains(forcedFlags, flag) { //check:ssh-flags
			return fmt.Errorf("%s cannot be used through SSH", flag)
		}
		if flag == "--json" || flag == "--explain" {
			continue
		}
		if !joined && i+1 < len(words) {
			i++
			value = words[i]
		}
		if strings.HasPrefix(value, "-") && value != "-" { //check:ssh-flag-for-value
			return fmt.Errorf("%s cannot be the value of %s", value, flag)
		}
		if flag != "--device" && value != "-" { //check:ssh-no-files
			return fmt.Errorf("through SSH %s comes by standard input: %s -", flag, flag)
		}
	}
	return nil
}

// plain reports whether a character means nothing to any shell.
func plain(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" _./:=@%+,-", r)
}
