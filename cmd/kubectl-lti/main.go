// SPDX-License-Identifier: Apache-2.0

// Command kubectl-lti is a plugin of kubectl: `kubectl lti details` prints the values that the administrator of another
// learning system needs, `kubectl lti registration` the link by which that system registers, `kubectl lti grades` and `kubectl lti results` show what becomes of grades and of results of
// external activities, `kubectl lti validate` checks resources without a cluster.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Exit statuses.
const (
	exitOK = iota
	// exitFailed: validate has found errors, details has nothing to print, or grades or results cannot do all that they were asked
	// for.
	exitFailed
	// exitUsage: the command line is wrong, or a file cannot be read.
	exitUsage
)

// Examples of each command, for --help.
const (
	detailsExamples = `  # What the administrator of a Moodle pastes there, and what is still missing here.
  kubectl lti details platform/university --for moodle

  # The launch URL, consumer key and shared secret of one activity, as JSON.
  kubectl lti details activity working-at-height --show-secret -o json`
	listGradesExamples = `  # What has become of the grades of one learner.
  kubectl lti grades list --subject 2f9a4c…

  # What gradebooks have refused, as JSON.
  kubectl lti grades list --state Refused -o json`
	resendGradesExamples = `  # Send one grade again; grades list prints the ID.
  kubectl lti grades resend 6f1ed002ab55…

  # Send all grades again that a platform had refused, once its administrator has mended it.
  kubectl lti grades resend --all --state Refused --registration platform/university`
	listResultsExamples = `  # How the learners did in an external activity.
  kubectl lti results list --activity rescue-exam

  # What the academy does not want to be told, as JSON.
  kubectl lti results list --delivery Stopped -o json`
	showResultExamples = `  # Which messages made a result what it is; results list prints the ID.
  kubectl lti results show 72c6f42cf1bb…`
	resendResultsExamples = `  # Tell the academy of one result again.
  kubectl lti results resend 72c6f42cf1bb…

  # Tell it of all that it had refused with status 410.
  kubectl lti results resend --all --delivery Stopped`
	registrationLinkExamples = `  # The link for the administrator of a platform that registers by itself.
  kubectl lti registration link platform/university

  # Another one, when the former one has ended or is in the wrong hands.
  kubectl lti registration link platform/university --new`
	listRegistrationsExamples = `  # What has registered, and whether it is used.
  kubectl lti registration list`
	approveRegistrationExamples = `  # The lines for the file in Git; registration list prints the ID.
  kubectl lti registration approve platform/university 5f0c3f9a1b2d4e6f7081

  # Without Git.
  kubectl lti registration approve platform/university 5f0c3f9a1b2d4e6f7081 --apply`
	validateExamples = `  # Check a folder, without a cluster; exit status 1 when something is wrong.
  kubectl lti validate -R -f deploy/

  # Check what a template renders.
  helm template academy | kubectl lti validate -f -`
)

// commands are the command line.
type commands struct {
	Details      detailsCommand       `cmd:"" help:"Print the values for the administrator of another learning system."`
	Registration registrationCommands `cmd:"" help:"Let platforms and tools register by a link."`
	Grades       gradesCommands       `cmd:"" help:"Show the grades on their way to gradebooks, and send them again."`
	Results      resultsCommands      `cmd:"" help:"Show the results of external activities, and tell the academy of them again."`
	Validate     validateCommand      `cmd:"" help:"Check resources in files as the API server and the operator do, without a cluster."`
}

// terminal is what a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	// now tells the time; nil for that of the machine.
	now func() time.Time
}

func (t terminal) time() time.Time {
	if t.now == nil {
		return time.Now()
	}
	return t.now()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	log.SetLogger(logr.Discard())
	os.Exit(run(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// usageError is an error in how the command is called, or a file that cannot be read.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errSaid says that everything has been said already.
var errSaid = errors.New("everything has been said")

// run is the program, but for the process around it; it returns the exit status.
func run(ctx context.Context, args []string, t terminal) (status int) {
	// kong asks to exit after --help.
	type exit int
	defer func() {
		switch asked := recover().(type) {
		case nil:
		case exit:
			status = int(asked)
		default:
			panic(asked)
		}
	}()
	parser := kong.Must(&commands{}, kong.Name("kubectl lti"), kong.UsageOnError(),
		kong.Description("Hand over and check LTI resources, and look after grades and results.\n\nExamples:\n\n"+
			strings.Join([]string{
				detailsExamples, registrationLinkExamples, listRegistrationsExamples, approveRegistrationExamples, listGradesExamples, resendGradesExamples, listResultsExamples, showResultExamples, resendResultsExamples,
				validateExamples,
			}, "\n\n")),
		kong.Vars{
			"systems": systems(), "states": strings.Join(gradeStates, ","), "stateList": strings.Join(gradeStates, ", "),
			"deliveries": strings.Join(deliveryStates, ","), "deliveryList": strings.Join(deliveryStates, ", "),
		},
		kong.Writers(t.out, t.err), kong.Exit(func(code int) { panic(exit(code)) }))
	command, err := parser.Parse(args)
	if err == nil {
		command.BindTo(ctx, (*context.Context)(nil))
		err = command.Run(t)
	} else {
		err = usageError{err}
	}
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintln(t.err, "error:", err)
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// validateCommand is `kubectl lti validate`.
type validateCommand struct {
	Files     []string `name:"filename" short:"f" required:"" help:"File or directory with YAML or JSON; - for standard input. May be given more than once." placeholder:"FILE"`
	Recursive bool     `short:"R" help:"Look into the directories below too."`
	Namespace string   `short:"n" default:"default" help:"Namespace of objects that name none."`
	Output    string   `short:"o" enum:"text,json" default:"text" help:"Output format: text or json."`
}

// Help returns the examples, for kong.
func (*validateCommand) Help() string { return "Examples:\n\n" + validateExamples }

// Run implements the command.
func (c *validateCommand) Run(ctx context.Context, t terminal) error {
	sources, err := readSources(c.Files, c.Recursive, t.in)
	if err != nil {
		return usageError{err}
	}
	r, err := validate(ctx, sources, c.Namespace, rand.Reader)
	if err != nil {
		return err
	}
	if err := r.write(t.out, c.Output); err != nil {
		return err
	}
	if r.Invalid > 0 {
		return errSaid
	}
	return nil
}
