package workspace

import "testing"

func TestWithoutUser(t *testing.T) {
	t.Parallel()
	for repository, want := range map[string]string{
		"https://git.example/team/web":               "https://git.example/team/web",
		"https://user:hunter2@git.example/team/web":  "https://git.example/team/web",
		"https://git.example/team/web?token=hunter2": "https://git.example/team/web",
		"ssh://git@git.example:22/team/web":          "ssh://git.example:22/team/web",
		"git@git.example:team/web.git":               "git.example:team/web.git",
		"/srv/git/web":                               "/srv/git/web",
		"https://user:%hunter2@git.example/":         "",
		"":                                           "",
	} {
		if got := withoutUser(repository); got != want {
			t.Errorf("%s: %s", repository, got)
		}
	}
}

func TestRefOfCI(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"GITHUB_REF=refs/pull/1/merge": "refs/pull/1/merge", "CI_COMMIT_BRANCH=main": "refs/heads/main", "CI_COMMIT_TAG=v1": "refs/tags/v1",
		"BUILDKITE_BRANCH=main": "refs/heads/main", "BUILDKITE_TAG=": "", "X=y": "",
	} {
		if got := (git{environ: []string{variable}}).refOfCI(); got != want {
			t.Errorf("%s: %s", variable, got)
		}
	}
}
