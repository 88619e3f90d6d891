# Bash completion of qhang; installed under the program's name.
# SPDX-License-Identifier: GPL-2.0-or-later

# Files or folders that begin with $1, each one word whatever it holds.
_qhang_paths() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen "$2" -- "$1")
}

# The pids of processes that are QEMUs by their name.
_qhang_pids() {
    local stat pid name
    for stat in /proc/[0-9]*/comm; do
        { read -r name < "$stat"; } 2>/dev/null || continue
        pid=${stat#/proc/}
        case $name in
            qemu*|kvm*) printf '%s\n' "${pid%/comm}" ;;
        esac
    done
}

_qhang_diagnose() {
    local word=$1 before=$2
    case $before in
        --core|--exe|--registers|--html|--dot) _qhang_paths "$word" -f; return ;;
        --debuginfo) _qhang_paths "$word" -d; return ;;
        --stop-bound) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "--core --exe --registers --no-stop --stop-bound --debuginfo \
            --json --html --dot --help" \
            -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(_qhang_pids)" -- "$word")
    fi
}

_qhang_coroutines() {
    local word=$1 before=$2 words
    case $before in
        --core|--exe|--registers) _qhang_paths "$word" -f; return ;;
        --debuginfo) _qhang_paths "$word" -d; return ;;
        --with|--context|--stop-bound) return ;;
        --group) words="stack wait none" ;;
        --state) words="suspended running entered pooled created" ;;
        --waiting-on)
            words="sleep co-mutex co-queue co-rwlock graph-read-lock fd timer
                bottom-half aio-completion job-pause nbd throttle drain events
                unknown" ;;
        *)
            words=$(_qhang_pids)
            if [[ $word == -* ]]; then
                words="--state --context --with --waiting-on --group --core
                    --exe --registers --no-stop --stop-bound --debuginfo --json
                    --help"
            fi ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

_qhang_capture() {
    local word=$1 before=$2
    if [[ $before == -o || $before == --output ]]; then
        _qhang_paths "$word" -f
    elif [[ $before == --stop-bound ]]; then
        return
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "--output --kill-after --stop-bound --help" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(_qhang_pids)" -- "$word")
    fi
}

_qhang_kick() {
    local word=$1 before=$2
    if [[ $before == --debuginfo ]]; then
        _qhang_paths "$word" -d
    elif [[ $before == --wait || $before == --stop-bound ]]; then
        return
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "--yes --dry-run --notify-only --wait --stop-bound --debuginfo \
            --help" \
            -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(_qhang_pids)" -- "$word")
    fi
}

_qhang_watch() {
    local word=$1 before=$2
    case $before in
        --qmp|--capture|--metrics) _qhang_paths "$word" -f; return ;;
        --debuginfo) _qhang_paths "$word" -d; return ;;
        --exec) mapfile -t COMPREPLY < <(compgen -c -- "$word"); return ;;
        --after|--interval) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "--qmp --after --interval --capture --exec --metrics --once \
            --debuginfo --help" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$(_qhang_pids)" -- "$word")
    fi
}

_qhang_list() {
    if [[ $2 != --interval ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--interval --json --help" -- "$1")
    fi
}

_qhang_explain() {
    local words=--help
    if [[ $1 != -* ]]; then
        words=$(qhang explain 2>/dev/null | grep -v '^ ') || words=
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$1")
}

_qhang_verify() {
    local word=$1 before=$2
    if [[ $before == --junit || $word != -* ]]; then
        _qhang_paths "$word" -f
    else
        mapfile -t COMPREPLY < <(compgen -W \
            "--json --junit --race --stress --help" -- "$word")
    fi
}

_qhang() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W \
            "diagnose kick coroutines capture explain list verify watch --help \
            --version" \
            -- "$word")
        return
    fi
    case ${COMP_WORDS[1]} in
        diagnose) _qhang_diagnose "$word" "$before" ;;
        coroutines) _qhang_coroutines "$word" "$before" ;;
        capture) _qhang_capture "$word" "$before" ;;
        kick) _qhang_kick "$word" "$before" ;;
        list) _qhang_list "$word" "$before" ;;
        watch) _qhang_watch "$word" "$before" ;;
        explain) _qhang_explain "$word" ;;
        verify) _qhang_verify "$word" "$before" ;;
    esac
}

complete -F _qhang qhang
