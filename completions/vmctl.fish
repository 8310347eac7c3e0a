# SPDX-License-Identifier: Apache-2.0
# Completion of vmctl and vmctl-VERB for fish. What may follow is asked of the program that is on the
# line, `PROGRAM __complete WORD ...`, so that nothing here grows old: cmd/cli/complete.h says what it
# answers.

# A word as the program would get it: with ~ and a variable in front. fish has taken the quotes off.
function __vmctl_plain
    set -l word (string replace -r '^~(?=/|$)' -- $HOME $argv[1])
    set -l variable (string match -r '^\$(\w+)(.*)$' -- $word)
    if set -q variable[2]
        set -l name $variable[2]
        set word "$$name$variable[3]"
    end
    printf '%s\n' $word
end

function __vmctl_complete
    set -l words (commandline -xpc 2>/dev/null; or commandline -opc)
    set -l current (commandline -ct)
    # Variables that are set for this command alone: fish has set them for us.
    while string match -qr '^\w+=' -- $words[1]
        set -e words[1]
    end
    set -l program (__vmctl_plain $words[1])
    type -fq $program; or set program vmctl
    set -l asked
    for word in $words[2..]
        set -a asked (__vmctl_plain $word)
    end
    set -l last (string unescape -- $current; or printf '%s\n' $current)
    set -l answer (command $program __complete $asked (__vmctl_plain "$last") 2>/dev/null)
    set -q answer[1]; or return
    set -l head (string split -m 1 \t -- $answer[1])
    set -l kept $head[2]
    for candidate in $answer[2..]
        printf '%s%s\n' $kept $candidate
    end
    set -l typed (string sub -s (math 1 + (string length -- "$kept")) -- "$last")
    switch $head[1]
        case files
            for name in (__fish_complete_path "$typed" '')
                printf '%s%s\n' $kept $name
            end
        case dirs
            for name in (__fish_complete_directories "$typed" '')
                printf '%s%s\n' $kept $name
            end
    end
end

# fish has completions for a vmctl of another system, and would load them beside these when this file is
# read by `source`. So they are loaded now, and go.
complete -C 'vmctl ' >/dev/null
complete -c vmctl -e

# All that are in PATH; and fish loads this file under the name of the program it is for.
set -l __vmctl_programs $PATH/vmctl-*
for program in vmctl (string replace -r '.*/' '' -- $__vmctl_programs (status basename))
    set program (string replace -r '\.fish$' '' -- $program)
    complete -c $program -f -a '(__vmctl_complete)'
end
