package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// bashReferences are what bash's completion needs beyond the library's, which knows only of
// = and : that bash ends words at @, too (COMP_WORDBREAKS): the words are put together
// again, and of a completion only what stands behind the @ is given back.
var bashReferences = strings.NewReplacer(
	"completion -n =: ", "completion -n =:@ ",
	"    __ampoule_handle_special_char \"$cur\" =\n", "    __ampoule_handle_special_char \"$cur\" =\n    __ampoule_handle_special_char \"$cur\" @\n",
)

// completeReferences has bash's completion take NAME@DIGEST for one word.
func completeReferences(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	bash, _, err := root.Find([]string{"completion", "bash"})
	if err != nil || bash.Name() != "bash" {
		panic("cli: there is no completion for bash")
	}
	bash.RunE = func(cmd *cobra.Command, _ []string) error {
		var script bytes.Buffer
		describe := !cmd.Flags().Changed("no-descriptions")
		if err := root.GenBashCompletionV2(&script, describe); err != nil {
			return fmt.Errorf("writing the completion: %w", err)
		}
		if _, err := bashReferences.WriteString(cmd.OutOrStdout(), script.String()); err != nil {
			return fmt.Errorf("writing the completion: %w", err)
		}
		return nil
	}
}
