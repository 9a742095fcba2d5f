package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// shownOfOne is how many lines denials of one code take at the most: a server
// holds a lock on each of its tables.
const shownOfOne = 5

// summarize prints the verdict and its reasons.
func summarize(w io.Writer, r gate.Result) error {
	var b strings.Builder
	fmt.Fprintln(&b, headline(r))
	count := map[string]int{}
	for _, denial := range r.Decision.Denials {
		count[denial.Code]++
	}
	shown := map[string]int{}
	for _, denial := range r.Decision.Denials {
		shown[denial.Code]++
		switch rest := count[denial.Code] - shownOfOne + 1; {
		case count[denial.Code] <= shownOfOne+1 || shown[denial.Code] < shownOfOne:
			fmt.Fprintf(&b, "  - %s\n", denialLine(denial))
		case shown[denial.Code] == shownOfOne:
			fmt.Fprintf(&b, "  - [%s] and %d more (--json has all)\n", denial.Code, rest)
		}
	}
	for _, waived := range r.Decision.Waived {
		fmt.Fprintf(&b, "  - waived by the override: %s\n", denialLine(waived))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", warning)
	}
	if next := nextStep(r); next != "" {
		fmt.Fprintf(&b, "  next: %s\n", next)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func headline(r gate.Result) string {
	where := "the whole machine"
	if !r.Scope.WholeMachine() {
		where = strings.Join(r.Scope.Devices, ", ")
	}
	switch r.Verdict {
	case gate.Allowed:
		return fmt.Sprintf("lifeboat-guard: %s of %s would be allowed at this moment", r.Operation, where)
	case gate.Ran:
		return fmt.Sprintf("lifeboat-guard: %s of %s: the command has run: %s", r.Operation, where, r.Child)
	case gate.Refused:
	}
	return fmt.Sprintf("lifeboat-guard: REFUSED %s of %s: %s", r.Operation, where, classText[r.Class])
}

var classText = map[policy.Class]string{
	policy.Signature:   "the request is not valid here",
	policy.Expired:     "the request's time is over, or the clock cannot be trusted",
	policy.Live:        "something lives",
	policy.Set:         "the set could not bear it",
	policy.RuleClass:   "a rule is against it",
	policy.Unknown:     "the machine cannot know",
	policy.Unavailable: "the set does not answer",
	policy.Busy:        "not now",
}

func denialLine(d policy.Denial) string {
	subject := ""
	if d.Subject != "" && !strings.Contains(d.Summary, d.Subject) {
		subject = d.Subject + ": "
	}
	return fmt.Sprintf("[%s] %s%s", d.Code, subject, d.Summary)
}

// nextStep is what somebody who has been refused can do.
func nextStep(r gate.Result) string {
	if r.Verdict != gate.Refused {
		return ""
	}
	switch r.Class {
	case policy.Live:
		return "check the host name first; if it is the right machine, move its data and role elsewhere, then ask again"
	case policy.Busy:
		return "ask again later"
	case policy.Unknown, policy.Set, policy.RuleClass:
		if slices.ContainsFunc(r.Decision.Denials, func(d policy.Denial) bool { return !d.Waivable }) {
			return "remove the cause; it cannot be waived"
		}
		return "remove the cause; an override by two other people is the last resort (lifeboat-guard approve --help)"
	case policy.Unavailable:
		return "bring etcd back; a set that cannot be asked cannot spare a machine"
	case policy.Signature, policy.Expired:
		if slices.ContainsFunc(r.Decision.Denials, func(d policy.Denial) bool { return strings.HasPrefix(d.Summary, "override:") }) {
			return "make a new override (lifeboat-guard approve --help)"
		}
		return "make a new request (lifeboat-guard request --help)"
	}
	return ""
}

// explain prints everything that the decision was made from.
func explain(w io.Writer, r gate.Result) error {
	if err := summarize(w, r); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nFacts:")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range sorted(r.Facts) {
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", f.Verdict, f.Probe, cost(f), f.Subject)
		fmt.Fprintf(tw, "  \t\t\t  %s\n", f.Summary)
		for _, name := range sortedKeys(f.Evidence) {
			fmt.Fprintf(tw, "  \t\t\t  %s: %s\n", name, f.Evidence[name])
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(r.Decision.Tolerated) > 0 {
		fmt.Fprintln(w, "\nTolerated:")
		for _, line := range r.Decision.Tolerated {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	_, err := fmt.Fprintf(w, "\nEvidence digest (an override is bound to it): %s\n", r.Evidence)
	return err
}

func cost(f fact.Fact) string {
	return (time.Duration(f.Micros) * time.Microsecond).Round(100 * time.Microsecond).String()
}

// sorted puts what denies first.
func sorted(facts []fact.Fact) []fact.Fact {
	rank := map[fact.Verdict]int{fact.Active: 0, fact.Unknown: 1, fact.Clear: 2}
	facts = slices.Clone(facts)
	slices.SortStableFunc(facts, func(a, b fact.Fact) int { return rank[a.Verdict] - rank[b.Verdict] })
	return facts
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
