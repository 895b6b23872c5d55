package webtest

import (
	"context"
	"net/http"
	"time"

	"ampoule/faults"
	"ampoule/service/web"
)

// Issuer is where people of the example log in, Code what it sends them back with.
const (
	Issuer = "https://sso.example/authorize"
	Code   = "example-code"
)

// Ways are the example's issuer.
func (*Service) Ways() []web.Way { return []web.Way{{Name: "sso", Title: "Example SSO"}} }

// Session is eight hours.
func (*Service) Session() time.Duration { return 8 * time.Hour }

// Begin leads to the example's issuer.
func (*Service) Begin(_ context.Context, way, back string) (to, kept string, err error) {
	if way != "sso" {
		return "", "", faults.New(faults.NotFound, "", "nobody logs in that way")
	}
	return Issuer + "?back=" + back, "kept-secret", nil
}

// Finish knows whoever comes with the code as the owner of [TokenAll].
func (*Service) Finish(_ context.Context, way, _, kept string, a web.LoginAnswer) (string, error) {
	switch {
	case kept != "kept-secret":
		return "", faults.New(faults.Refused, "begin again", "this browser has not begun to log in")
	case way != "sso" || a.Code == "":
		return "", faults.New(faults.Refused, "", "sso has refused: %s", a.Error)
	case a.Code == "away":
		return "", faults.New(faults.Remote, "", "issuer sso cannot be asked")
	case a.Code != Code:
		return "stranger", nil
	}
	return TokenAll, nil
}

// Person knows people by the token that Finish gave.
func (s *Service) Person(r *http.Request, person string) (web.Identity, error) {
	who, err := s.Identify(r, person)
	if err != nil {
		return who, faults.New(faults.Refused, "", "no rule of this service admits sso:stranger")
	}
	who.Name = "sso:ann@example.org"
	return who, nil
}

// Changes lists changes of the example.
func (s *Service) Changes(_ context.Context, f web.ChangeFilter) (web.ChangePage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := web.ChangePage{}
	if len(s.builds) == 0 || f.Before != "" {
		return page, nil
	}
	for _, c := range changes() {
		if (f.Caller == "" || f.Caller == c.Caller) && (f.Action == "" || f.Action == c.Action) && (f.Target == "" || f.Target == c.Target) && (f.Result == "" || f.Result == c.Result) {
			page.Changes = append(page.Changes, c)
		}
	}
	if f == (web.ChangeFilter{Limit: f.Limit}) {
		page.Next = "older"
	}
	return page, nil
}

func changes() []web.Change {
	ci := web.Change{Caller: "github:repo:payments/api:ref:refs/heads/main", CallerID: "3a1f6c2e9b7d4e80", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:payments/api:ref:refs/heads/main", Client: "203.0.113.9"}
	ann := web.Change{Caller: "sso:ann@example.org", CallerID: "90cf4b1ad27e5536", Issuer: "https://sso.example", Subject: "00u4k2", Client: "198.51.100.4"}
	of := func(by web.Change, ago time.Duration, action, target string, result web.ChangeResult, message string, details ...web.Detail) web.Change {
		by.Time, by.Action, by.Target, by.Result, by.Message, by.Details, by.Request = before(ago), action, target, result, message, details, "n4qvcpyw2kxetm7d"
		return by
	}
	return []web.Change{
		of(ann, 30*time.Second, "promote", "web:prod", web.ChangeBegun, "", web.Detail{Name: "digest", Value: Digest(20)}),
		of(ci, 40*time.Second, "submit-build", Waiting, web.ChangeDone, "", web.Detail{Name: "recipe", Value: "shop/search"}, web.Detail{Name: "key", Value: Digest(1)}),
		of(ann, 20*time.Minute, "promote", "payments/api:prod", web.ChangeRefused, "promoting to payments/api:prod: the channel is frozen: the audit is on until Friday", web.Detail{Name: "digest", Value: Digest(23)}, web.Detail{Name: "reason", Value: "release 42"}),
		of(web.Change{Caller: "ann", CallerID: "bxie4wa6p7", Client: "127.0.0.1"}, 3*time.Hour, "create-token", "/v1/tokens", web.ChangeDone, "", web.Detail{Name: "scopes", Value: "read:*"}, web.Detail{Name: "token", Value: "prometheus"}),
		of(ann, 26*time.Hour, "revoke", "web:prod", web.ChangeFailed, "the registry does not answer", web.Detail{Name: "digest", Value: Digest(19)}, web.Detail{Name: "reason", Value: "it leaks"}),
	}
}
