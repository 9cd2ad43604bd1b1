"""What runs on a host without a studio: a loop of its own shell that looks each time it is asked.

It reads and prints, and writes nothing. It ends with its input, and by itself when nobody has asked for long: a
connection that was cut may look alive to that side for hours.

A question is one line, `SERIAL FULL ADDRESS..`: its number, whether what changes rarely is wanted too (1), and what to
fetch over HTTP there, as `127.0.0.1:8000/metrics`. The answer is made of sections, each begun by a line
`@studio NONCE NAME ..`; who does not know the nonce cannot forge one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What begins a line between sections, before the nonce.
MARK = "@studio"
#: Columns that nvidia-smi is asked for. Drivers before 535 have another name for the last, those before 450 no MIG.
COLUMNS = "index,uuid,name,driver_version,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"
QUERIES = (
    f"{COLUMNS},mig.mode.current,clocks_event_reasons.active",
    f"{COLUMNS},mig.mode.current,clocks_throttle_reasons.active",
    COLUMNS,
)
#: Columns of processes on GPUs.
APPS = "gpu_uuid,pid,used_gpu_memory"
#: Seconds that nvidia-smi, and an engine, may take.
SMI, FETCH = 10, 2
#: Seconds without a question after which the loop ends by itself, and how often that is looked at.
ALONE, STEP = 120, 15
#: A line that ends the script, which is sent over the connection, and is no line of it.
END = "."

#: The command that ssh is given: it takes the script from its input, line by line. Every login shell reads it alike,
#: csh and fish too: within its single quotes there is no `!`, no line end, and no backslash but one before `n`.
LOADER = (
    'exec sh -c \'n=$(printf "\\nx"); n=${n%x}; s=; '
    'while IFS= read -r l; do test "$l" = . && break; s="$s$l$n"; done; eval "$s"\''
)

_SCRIPT = r"""
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/wsl/lib"
LC_ALL=C
export PATH LC_ALL
unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
have() { command -v "$1" >/dev/null 2>&1; }
mark() { printf '\n%s %s\n' "@mark@" "$1"; }
within() { if have timeout; then timeout "$@"; else shift; "$@"; fi; }
get=none
for one in curl wget bash python3; do if have $one; then get=$one; break; fi; done
fetch() {
  case $get in
    curl) curl -s -i -m @fetch@ "http://$1/$2" ;;
    wget) within @patient@ wget -q -T @fetch@ -O - "http://$1/$2" ;;
    bash) within @patient@ bash -c 'exec 3<>"/dev/tcp/${0%:*}/${0##*:}" || exit 7
      printf "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n" "$1" "$0" >&3; cat <&3' "$1" "$2" ;;
    python3) within @patient@ python3 -c 'import http.client, sys
one = http.client.HTTPConnection(sys.argv[1], timeout=@fetch@)
one.request("GET", "/" + sys.argv[2])
answer = one.getresponse()
sys.stdout.buffer.write(b"HTTP/1.1 %d\n\n" % answer.status + answer.read(1 << 22))' "$1" "$2" ;;
  esac 2>/dev/null </dev/null
}
smi() { { within @smi@ nvidia-smi "$@" --format=csv,noheader,nounits 2>&1; printf '\nrc %s\n' $?; } </dev/null; }
value() { v=; read -r v <"$1" && test -n "$v" && printf '%s %s\n' "${1#/sys/}" "$v"; }
query=
gpus() {
  if have nvidia-smi; then
    mark nvidia-smi
    if test -n "$query"; then out=$(smi "--query-gpu=$query" | head -c 65536)
    else
      for query in @queries@; do
        out=$(smi "--query-gpu=$query" | head -c 65536)
        case $out in *"not a valid field"*) ;; *) break ;; esac
      done
    fi
    mark "nvidia $query"
    printf '%s\n' "$out"
    return
  fi
  mark amd
  for d in /sys/class/drm/card[0-9] /sys/class/drm/card[0-9][0-9]; do
    test -r "$d/device/mem_info_vram_total" || continue
    for f in "$d"/device/gpu_busy_percent "$d"/device/mem_info_vram_used "$d"/device/mem_info_vram_total \
      "$d"/device/product_name "$d"/device/hwmon/hwmon*/power1_average "$d"/device/hwmon/hwmon*/power1_input \
      "$d"/device/hwmon/hwmon*/temp1_input; do
      test -r "$f" && value "$f"
    done
  done 2>/dev/null
  if test "$1" = 1; then
    mark pci
    for d in /sys/bus/pci/devices/*; do
      k=; read -r k <"$d/class"
      case $k in 0x0300*|0x0302*|0x0380*) value "$d/vendor" ;; esac
    done 2>/dev/null
  fi
}
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo 2>/dev/null)
host() {
  mark host
  printf 'cores %s\n' "$cores"
  read -r a b </proc/uptime && printf 'uptime %s\n' "$a"
  read -r a b </proc/loadavg && printf 'load %s\n' "$a"
  while read -r a b c; do case $a in MemTotal:|MemAvailable:) printf '%s %s\n' "$a" "$b" ;; esac; done </proc/meminfo
} 2>/dev/null
processes() {
  for f in $(grep -lzF @words@ /proc/[0-9]*/cmdline 2>/dev/null </dev/null | head -n 64); do
    s=; read -r s <"${f%cmdline}stat" || continue
    mark "process"
    printf '%s\n' "$s"
    head -c 16384 "$f"
  done 2>/dev/null
}
trap '' USR1
(
  n=0
  trap 'n=0' USR1
  trap 'kill $s; exit' TERM
  while kill -0 $$; do
    sleep @step@ & s=$!
    while kill -0 $s; do wait $s; done
    n=$((n + @step@))
    if test $n -gt @alone@; then kill $$; exit; fi
  done
) </dev/null >/dev/null 2>&1 &
watcher=$!
while read -r serial full asks; do
  kill -USR1 $watcher 2>/dev/null
  mark "begin $serial"
  host
  gpus "$full"
  if test "$full" = 1 && have nvidia-smi; then
    mark apps
    smi "--query-compute-apps=@apps@" | head -c 65536
    mark parents
    { ps -eo pid=,ppid= 2>/dev/null || ps -o pid,ppid 2>/dev/null; } </dev/null | head -c 1048576
  fi
  processes
  for one in $asks; do
    a=; read -r a b </proc/uptime
    mark "answer $one $a"
    fetch "${one%%/*}" "${one#*/}" | sed -e '/^#/d' -e '/_bucket{/d' | head -c 262144
  done
  mark "end $serial"
done
kill $watcher 2>/dev/null
"""

_WORD = re.compile(r"[A-Za-z0-9._/-]{2,64}")


def script_of(nonce: str, words: Iterable[str]) -> bytes:
    """Return what is sent to the loader: the script, and the line that ends it.

    Args:
        words: One of them is in the command line of every engine.
    """
    known = [one for one in dict.fromkeys(words) if _WORD.fullmatch(one)]
    filled = {
        "mark": f"{MARK} {nonce}",
        "fetch": str(FETCH),
        "patient": str(FETCH + 1),
        "smi": str(SMI),
        "queries": " ".join(QUERIES),
        "apps": APPS,
        "alone": str(ALONE),
        "step": str(STEP),
        "words": " ".join(f"-e {one}" for one in known) or "-e /",
    }
    text = re.sub(r"@([a-z]+)@", lambda found: filled[found[1]], _SCRIPT)
    return f"{text}{END}\n".encode()
