#!/bin/sh
# Asks auditwheel, check-wheel-contents and abi3audit about wheels, for record_test.go.
#
#     python3 -m venv peers && peers/bin/pip install auditwheel check-wheel-contents abi3audit
#     go test ./audit/lint -run TestRecord -handmade HANDMADE
#     PATH=peers/bin:$PATH audit/lint/testdata/peers.sh OUT HANDMADE/*.whl PUBLISHED/*.whl
#     go test ./audit/lint -run TestRecord -wheels HANDMADE:PUBLISHED -peers OUT
set -u
out=$1
shift
mkdir -p "$out"
for wheel; do
	name=$(basename "$wheel")
	[ -e "$out/$name.contents" ] || check-wheel-contents "$wheel" >"$out/$name.contents" 2>&1
	case $name in
	*-any.whl) continue ;;
	esac
	[ -e "$out/$name.auditwheel" ] || auditwheel show --json "$wheel" >"$out/$name.auditwheel" 2>/dev/null
	case $name in
	*abi3*) [ -e "$out/$name.abi3audit" ] || abi3audit --report "$wheel" >"$out/$name.abi3audit" 2>/dev/null ;;
	esac
done
