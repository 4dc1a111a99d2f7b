# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of hvctl for bash.

_hvctl()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local common='--qmp --json --timeout --help'
    local command='' i words

    case $prev in
    --qmp | --device)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --timeout | --message | --hold | --run | --address | --gateway | --dns | \
        --resume | --cancel)
        return
        ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        status | heartbeat | shutdown | timesync | snapshot-freeze | \
            snapshot-thaw | vss-status | kvp | ip | copy | host-check)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    case $command in
    '')
        words="status heartbeat shutdown timesync snapshot-freeze"
        words+=" snapshot-thaw vss-status kvp ip copy host-check $common"
        words+=" --version"
        ;;
    heartbeat) words="$common --watch" ;;
    shutdown) words="$common --reboot --hibernate --force --wait --message" ;;
    timesync) words="$common --sync" ;;
    snapshot-freeze) words="$common --hold --run" ;;
    kvp)
        case $prev in
        kvp) words="list get set delete" ;;
        list | get | set | delete)
            words="external guest auto auto-external auto-internal"
            ;;
        *) words="$common --direct --number" ;;
        esac
        ;;
    ip)
        if [[ $prev == ip ]]; then
            words="get set"
        else
            words="$common --dhcp --address --gateway --dns"
        fi
        ;;
    copy)
        words="$common --overwrite --create-path --progress --resume --cancel"
        if [[ $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        ;;
    host-check) words="$common --device" ;;
    *) words=$common ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _hvctl hvctl
