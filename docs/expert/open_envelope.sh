#!/bin/sh
# Open one sealed envelope (pli/1) with the EK that the minutes give: a POSIX shell, OpenSSL 3 and the usual tools.
#   open_envelope.sh envelopes/<company>/<envelope> EK-in-hex output-folder
# AES-GCM is decrypted as the counter mode that it is; what proves the bytes is the commitment of each object and the
# SHA-256 that the bidder sealed in t.cob, compared below. One openssl call for each 16 KiB: meant for small files.
set -eu
folder=$1 ek=$2 out=$3
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

hex() { od -An -v -tx1 | tr -d ' \n'; }
bin() { sed 's/../\\x&/g' | xargs -0 printf '%b'; }
expand() { # key info length
    openssl kdf -binary -keylen "$3" -kdfopt digest:SHA512 -kdfopt mode:EXPAND_ONLY -kdfopt "hexkey:$1" \
        -kdfopt "hexinfo:$2" HKDF | hex
}
hh=$( { printf 'pli/1 header\0'; cat "$folder/header.json"; } | openssl dgst -sha256 -binary | hex)

unseal() { # object index destination
    number=$(printf '%08x' "$2")
    key=$(expand "$ek" "$(printf 'pli/1 file-key\0' | hex)$number" 32)
    label=$(printf 'c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0' | hex)
    salt=$(dd if="$1" bs=24 count=1 2>/dev/null | hex)
    commitment=$(dd if="$1" bs=8 skip=3 count=4 2>/dev/null | hex)
    derived=$(expand "$key" "$label$salt$(printf 'pli/1 file\0' | hex)$hh$number" 76)
    [ "$(printf %s "$derived" | cut -c89-152)" = "$commitment" ] || { echo "$1 : mauvaise clé" >&2; exit 1; }
    aes=$(printf %s "$derived" | cut -c1-64)
    high=$(printf %s "$derived" | cut -c65-80)
    low=$((0x$(printf %s "$derived" | cut -c81-88)))
    size=$(($(wc -c < "$1") - 56))
    chunks=$((size / 16400 + 1)) k=0
    : > "$3"
    while [ $k -lt $chunks ]; do
        tail -c +$((57 + k * 16400)) "$1" | head -c 16400 > "$work/chunk"
        length=$(($(wc -c < "$work/chunk") - 16))
        head -c $length "$work/chunk" |
            openssl enc -d -aes-256-ctr -nopad -K "$aes" -iv "$high$(printf '%08x' $((low ^ k)))00000002" >> "$3"
        k=$((k + 1))
    done
}

field() { # name of the field, all its values in order
    tr '{}' '\n\n' < "$1" | sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p"
}

unseal "$folder/0.cob" 0 "$work/manifest"
openssl dgst -sha256 -r "$work/manifest" | cut -d' ' -f1 > "$work/found"
grep -q "\"manifest\":\"$(cat "$work/found")\"" "$folder/header.json" || { echo "manifeste altéré" >&2; exit 1; }
count=$(field "$work/manifest" name | wc -l)
unseal "$folder/t.cob" $((count + 1)) "$work/closing"
field "$work/manifest" name > "$work/names"
field "$work/closing" sha256 > "$work/digests"
i=1
while [ $i -le "$count" ]; do
    name=$(sed -n "${i}p" "$work/names")
    unseal "$folder/$i.cob" $i "$work/plain"
    found=$(openssl dgst -sha256 -r "$work/plain" | cut -d' ' -f1)
    [ "$found" = "$(sed -n "${i}p" "$work/digests")" ] || { echo "$name : empreinte différente" >&2; exit 1; }
    mv "$work/plain" "$out/$(basename "$name")"
    echo "$found  $name"
    i=$((i + 1))
done
