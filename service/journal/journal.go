// Package journal is the log of a service: entries with fields, through the context, without
// secrets. What builds print is no part of it: that is an artifact (package logs).
package journal

import (
	"context"
	"io"
	"regexp"

	"github.com/sirupsen/logrus"

	"ampoule/address"
	"ampoule/faults"
)

// Fields are what an entry says beside its message. Their names are words of the project: build,
// key, recipe, stage, caller, worker, request.
type Fields = logrus.Fields

type entryKey struct{}

// New makes a log in the form "json" or "text". No entry of it has a token or the credentials of an
// address in it.
func New(w io.Writer, form string) (*logrus.Logger, error) {
	l := logrus.New()
	l.SetOutput(w)
	l.AddHook(redaction{})
	switch form {
	case "json":
		l.SetFormatter(&logrus.JSONFormatter{})
	case "text":
		l.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	default:
		return nil, faults.New(faults.Usage, "write json or text", "%q is not a form of log", form)
	}
	return l, nil
}

// In returns a context whose entries go to a log.
func In(ctx context.Context, l *logrus.Logger) context.Context {
	return context.WithValue(ctx, entryKey{}, logrus.NewEntry(l))
}

// With returns a context whose entries have further fields.
func With(ctx context.Context, fields Fields) context.Context {
	return context.WithValue(ctx, entryKey{}, Of(ctx).WithFields(fields))
}

// nowhere takes the entries of contexts without a log.
var nowhere = func() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}()

// Of is what a context's entries are made of. Without a log nobody reads them.
func Of(ctx context.Context) *logrus.Entry {
	if e, ok := ctx.Value(entryKey{}).(*logrus.Entry); ok {
		return e
	}
	return nowhere
}

// redaction takes secrets out of entries, whoever put them there.
type redaction struct{}

// Levels implements logrus.Hook.
func (redaction) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (redaction) Fire(e *logrus.Entry) error {
	e.Message = Redact(e.Message)
	clean := make(logrus.Fields, len(e.Data))
	for name, value := range e.Data {
		switch v := value.(type) {
		case string:
			value = Redact(v)
		case error:
			value = Redact(v.Error())
		case []string:
			all := make([]string, len(v))
			for i, text := range v {
				all[i] = Redact(text)
			}
			value = all
		}
		clean[name] = value
	}
	e.Data = clean
	return nil
}

var (
	// ownToken is a token of Ampoule's own: its ID may be seen, its secret may not.
	ownToken = regexp.MustCompile(`(ampoule_[a-z0-9]{10}_)[A-Za-z0-9]+`)
	// authorization is the value of the header (RFC 9110, 11.6.2), and what else follows the name of
	// a scheme; a JSON web token (RFC 7519) is one wherever it stands.
	authorization = regexp.MustCompile(`(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}`)
	webToken      = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)
)

// Redact takes tokens, and the credentials of addresses, out of a text.
func Redact(text string) string {
	text = ownToken.ReplaceAllString(text, "${1}***")
	text = authorization.ReplaceAllString(text, "$1 ***")
	text = webToken.ReplaceAllString(text, "***")
	return address.Redact(text)
}
