#!/usr/bin/env bash
# The CI step, for any CI: runs `touchstone publish` as environment variables say.
#
#   PUBLISH_POLICY            trust policy (TOML or JSON)                              required
#   PUBLISH_ATTESTATION       DSSE envelope or Sigstore bundle of the build            required
#   PUBLISH_LAUNCH            derivation request(s), JSON (docs/formats.md)            required
#   PUBLISH_ARTIFACTS         one ROLE=PATH a line
# and either, to submit to a server, which verifies everything again:
#   PUBLISH_SERVER            its https:// URL
#   PUBLISH_TOKEN_FILE        file with the admin token, or PUBLISH_TOKEN with the token itself
#   PUBLISH_CA_FILE           PEM authorities for the server's certificate, if private
# or, to write a signed reference-value statement for offline carriage:
#   PUBLISH_OUTPUT            file to write
#   PUBLISH_SIGNING_KEY_FILE  PEM private key, mode 0600, or PUBLISH_SIGNING_KEY with the PEM itself
# and, if wanted:
#   PUBLISH_RESULT            file for the JSON result; standard output otherwise
#   TOUCHSTONE_BIN            the touchstone program; found on PATH otherwise
#
# A token or key given by value goes through a file that only this user can read and that is removed at the
# end; it is never an argument. Exit code: 2 for a variable that is missing, superfluous or malformed, else
# that of `touchstone publish` (docs/cli.md).
set -euo pipefail
umask 077

refuse() {
    printf 'publish: %s\n' "$1" >&2
    exit 2
}

# Empty and unset are the same: CI systems pass inputs that were not given as empty.
given() { [ -n "${!1:-}" ]; }
need() { given "$1" || refuse "$1 is not set"; }
need_file() {
    need "$1"
    [ -f "${!1}" ] || refuse "$1 names no file: ${!1}"
}
only_with() { ! given "$2" || given "$1" || refuse "$2 is set without $1"; }

private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Sets `secret_file` to the file that holds the secret given by NAME_FILE or by NAME.
secret_of() {
    local name=$1 by_file=$1_FILE
    ! { given "$name" && given "$by_file"; } || refuse "set $name or $by_file, not both"
    if given "$by_file"; then
        need_file "$by_file"
        secret_file=${!by_file}
        return
    fi
    given "$name" || refuse "$by_file is not set (nor $name)"
    secret_file=$private/$name
    printf '%s\n' "${!name}" >"$secret_file"
    unset "$name"
}

need_file PUBLISH_POLICY
need_file PUBLISH_ATTESTATION
need_file PUBLISH_LAUNCH
for name in PUBLISH_TOKEN PUBLISH_TOKEN_FILE PUBLISH_CA_FILE; do only_with PUBLISH_SERVER "$name"; done
for name in PUBLISH_SIGNING_KEY PUBLISH_SIGNING_KEY_FILE; do only_with PUBLISH_OUTPUT "$name"; done

arguments=(publish --policy "$PUBLISH_POLICY" --attestation "$PUBLISH_ATTESTATION" --launch "$PUBLISH_LAUNCH")

while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    [ -n "${line//[[:space:]]/}" ] || continue
    [[ $line =~ ^[a-z][a-z-]*=. ]] || refuse "a line of PUBLISH_ARTIFACTS is not ROLE=PATH: $line"
    [ -f "${line#*=}" ] || refuse "PUBLISH_ARTIFACTS names no file: ${line#*=}"
    arguments+=(--artifact "$line")
done <<<"${PUBLISH_ARTIFACTS:-}"

if given PUBLISH_SERVER && given PUBLISH_OUTPUT; then
    refuse "set PUBLISH_SERVER or PUBLISH_OUTPUT, not both"
elif given PUBLISH_SERVER; then
    secret_of PUBLISH_TOKEN
    arguments+=(--server "$PUBLISH_SERVER" --token-file "$secret_file")
    if given PUBLISH_CA_FILE; then
        need_file PUBLISH_CA_FILE
        arguments+=(--ca-file "$PUBLISH_CA_FILE")
    fi
elif given PUBLISH_OUTPUT; then
    secret_of PUBLISH_SIGNING_KEY
    arguments+=(--output "$PUBLISH_OUTPUT" --signing-key "$secret_file")
else
    refuse "neither PUBLISH_SERVER nor PUBLISH_OUTPUT is set"
fi

program=${TOUCHSTONE_BIN:-touchstone}
command -v "$program" >/dev/null || refuse "no program $program: install Touchstone (scripts/setup), or set TOUCHSTONE_BIN"

# Not exec: the private folder is removed on the way out. The result file appears whole or not at all; of a
# refusal, the log has the reason.
if given PUBLISH_RESULT; then
    "$program" "${arguments[@]}" --json >"$private/result" || {
        code=$?
        cat "$private/result" >&2
        exit "$code"
    }
    (umask 022 && cp "$private/result" "$PUBLISH_RESULT")
else
    "$program" "${arguments[@]}" --json
fi
