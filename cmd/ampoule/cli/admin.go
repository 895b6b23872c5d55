package cli

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"ampoule/cmd/ampoule/display"
	"ampoule/faults"
	"ampoule/service/backup"
)

func newAdmin(s *Session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Backs a service up, and puts a backup back",
		Long: `Admin is for whoever runs ampoule serve with everything in one data directory. It works on
the directory itself, and needs no token.`,
		Args: usage(noVerb),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAdminBackup(s), newAdminRestore(s))
	return cmd
}

func newAdminBackup(s *Session) *cobra.Command {
	var at serviceData
	cmd := &cobra.Command{
		Use:   "backup DEST",
		Short: "Copies the data directory of a service, also while it runs",
		Long: `Backup writes all that a service keeps, and nobody makes again, into the new directory
DEST: database, logs, tokens, keys, and the registry. The service may run, and go on. The
result is DEST, which is whole and was read again, or not there. Inputs and results of
stages are not in it: they are fetched, or made, when they are needed.

The backup has secrets: the key of the pages' sessions, hashes of tokens, and whatever was
submitted. It is readable by its owner alone; keep it so.

With --store or --registry give what ampoule serve was given. A registry that is no
store's is not copied.`,
		Example: `  ampoule admin backup /backup/$(date +%F)
  ampoule admin backup --data /var/lib/ampoule /backup/today`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return AdminBackup(cmd.Context(), s, at, args[0]) },
	}
	adminFlags(cmd, &at)
	return cmd
}

func newAdminRestore(s *Session) *cobra.Command {
	var at serviceData
	cmd := &cobra.Command{
		Use:   "restore SRC",
		Short: "Puts a backup back into an empty data directory",
		Long: `Restore reads all of a backup, and compares it with what was written. Then it puts it into
the data directory, which must be empty, or not there. The result is that directory.
The service that is started there goes on: what was running is queued again. Start it
without --store: the registry is in the data directory.`,
		Example: `  ampoule admin restore --data /var/lib/ampoule /backup/2026-11-29`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return AdminRestore(cmd.Context(), s, at, args[0]) },
	}
	adminFlags(cmd, &at)
	return cmd
}

func adminFlags(cmd *cobra.Command, at *serviceData) {
	cmd.Flags().StringVar(&at.dir, "data", "", dataHelp)
	cmd.Flags().StringVar(&at.database, "database", "", "refused, with what to do instead: PostgreSQL has programs of its own for this")
}

// embedded is the data directory of a service without PostgreSQL.
func (d serviceData) embedded(s *Session, verb string) (string, error) {
	if d.database != "" {
		return "", faults.New(faults.Usage, backup.PostgresHint, "%s works on a data directory with SQLite, and this service has PostgreSQL", verb)
	}
	return d.place(s)
}

// AdminBackup writes a backup of a service's data directory.
func AdminBackup(ctx context.Context, s *Session, at serviceData, dest string) error {
	data, err := at.embedded(s, "admin backup")
	if err != nil {
		return err
	}
	if dest, err = filepath.Abs(dest); err != nil {
		return err
	}
	place := backup.Place{Data: data, Elsewhere: s.Registry != "", Version: thisVersion().Version}
	if s.Store != "" {
		if place.Store, err = filepath.Abs(s.Store); err != nil {
			return err
		}
	}
	made, err := backup.Make(ctx, place, dest)
	if err != nil {
		return err
	}
	s.tell("%d builds, %d keys, %d files, %s; every file was read again", made.Builds, made.Keys, made.Files, display.Size(made.Bytes))
	s.tell("it has secrets: only its owner can read it")
	s.warnBackup(made)
	return s.print(dest, made)
}

// warnBackup says what a backup lacks.
func (s *Session) warnBackup(made backup.Summary) {
	if !made.Registry {
		s.warn("the registry is not in it: copy %s after this backup", s.Registry)
	}
	if made.Gone > 0 {
		s.warn("%d of %d keys name digests that the registry has not got any more", made.Gone, made.Keys)
	}
	for _, path := range made.Damaged {
		s.warn("damaged before it was copied: %s; `ampoule store verify` says more", path)
	}
}

// AdminRestore puts a backup back.
func AdminRestore(ctx context.Context, s *Session, at serviceData, from string) error {
	data, err := at.embedded(s, "admin restore")
	if err != nil {
		return err
	}
	if s.Store != "" || s.Registry != "" {
		return &UsageError{Verb: "ampoule admin restore", Err: errors.New("the registry comes into the data directory: leave --store and --registry out")}
	}
	back, err := backup.Restore(ctx, from, data)
	if err != nil {
		return err
	}
	s.tell("the backup of %s is back: %d builds, %d keys, %s", back.Created.Format("2006-01-02 15:04:05 MST"), back.Builds, back.Keys, display.Size(back.Bytes))
	if !back.Registry {
		s.warn("the registry was not in it: start the service with the one that it had")
	}
	return s.print(data, back)
}
