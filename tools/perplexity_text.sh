#!/bin/sh
# Makes the text that perplexities are measured on, and checks it: the Constitution and the Declaration of Independence of
# the United States, in the public domain, as Debian's package miscfiles carries them. Then, for example:
#   tools/perplexity_text.sh us.txt && ./bodkin eval -m smollm2-135m --perplexity us.txt
# SPDX-License-Identifier: MIT
set -eu
[ $# = 1 ] || { echo "usage: $0 OUT" >&2; exit 64; }
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -qq download miscfiles >/dev/null 2>&1 || { echo "$0: cannot download the Debian package miscfiles" >&2; exit 69; }
dpkg -x miscfiles_*.deb .
gzip -dc usr/share/state/us-constitution.gz usr/share/state/us-declaration.gz >text
echo "7d74e608d1304c286842982ddd6af93b9e5334c71dc29a5750ec40c640d93f7c  text" | sha256sum -c --quiet ||
  { echo "$0: the package holds another text than the one that was measured" >&2; exit 65; }
mv text "$out"
