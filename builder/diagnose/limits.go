package diagnose

// limitRules are the sentences about what a build may not do or has too little of.
var limitRules = []rule{
	network("name resolution", `Temporary failure in name resolution`),
	network("ould not resolve", `[Cc]ould not resolve host(?:name)?:? ([\w.:/-]+)`),
	network("Network is unreachable", `Network is unreachable`),
	network("urlopen error", `urlopen error`),
	network("Name or service not known", `Name or service not known`),
	network("nodename nor servname", `nodename nor servname provided`),
	network("NewConnectionError", `NewConnectionError`),
	network("getaddrinfo", `getaddrinfo (?:ENOTFOUND|EAI_AGAIN) ?([\w.-]*)`),
	network("unable to access", `unable to access '([^']+)'`),
	memory("Killed signal terminated program", `Killed signal terminated program`),
	memory("internal compiler error", `internal compiler error: Killed`),
	memory("MemoryError", `(?:^|\s)MemoryError\b`),
	memory("emory exhausted", `(?:virtual )?memory exhausted`),
	memory("Cannot allocate memory", `Cannot allocate memory`),
	memory("bad_alloc", `std::bad_alloc`),
	memory("out of memory", `(?:LLVM ERROR|ld|cc1plus|cc1): out of memory`),
	memory("signal: 9", `\(signal: 9, SIGKILL: kill\)`),
	always("No space left on device", `No space left on device`, Cause{
		What: "the disk is full", Advice: "make room where Docker keeps its containers: `docker system df` tells what takes it",
	}),
	always("Read-only file system", `Read-only file system: '?([^'\s]*)`, forbidden),
	always("[Errno 13]", `\[Errno 13\] Permission denied: '/(?:usr|opt|etc|var|root|bin|lib|home)\b`, forbidden),
	always("Permission denied", `could not create '/[^']*': Permission denied`, forbidden),
	one("GLIBC", "version [`']GLIBC(?:XX)?_([\\d.]+)' not found", func(_ *scan, m []string) finding {
		return finding{Cause: Cause{
			What:   "a program was made for a newer C or C++ library (" + m[1] + ")",
			Advice: "take an older version of that build requirement, its Debian package (build), or a base with a newer suite",
		}}
	}),
	// Some builds try what the compiler knows, and go on without.
	optional(one("-std=", `(?:unrecognized|invalid value|error: unknown).*?['‘" =](-std=(?:c|gnu)[\w+]+|(?:c|gnu)\+\+\w+)['’"]?`, compiler)),
	one("upport for C++", `requires a compiler with support for (C\+\+\S*)`, compiler),
	one("requires GCC", `requires (GCC >= [\d.]*\d)`, compiler),
	one("C++", `(?i)(?:requires|need)s? (?:a )?(C\+\+\d\d) (?:compatible |capable )?compiler`, compiler),
}

// network makes a rule for an attempt to reach another host.
func network(has, expr string) rule {
	return one(has, expr, func(_ *scan, m []string) finding {
		c := Cause{What: "the build wants the network"}
		if len(m) > 1 && m[1] != "" {
			c.What += ": " + m[1]
		}
		c.Advice = "a build has none: whatever it wants from there must be an input (build, requires, a patch), or be turned off by env or config-settings"
		return finding{Cause: c}
	})
}

// memory makes a rule for a build that had too little of it.
func memory(has, expr string) rule {
	return always(has, expr, Cause{
		What: "the build ran out of memory", Advice: "build with more memory (--step-memory), or with fewer jobs (--jobs)",
	})
}

var forbidden = Cause{
	What:   "the build writes outside of its own directories",
	Advice: "it may not: its settings must lead it elsewhere (env, config-settings), or a patch",
}

// compiler says that the compiler is too old.
func compiler(_ *scan, m []string) finding {
	return finding{Cause: Cause{
		What:   "the compiler is too old for " + m[1],
		Advice: "take an older version of the distribution, or a base with a newer suite",
	}}
}
