# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_midge_passwd_global_optspecs
    string join \n b c D U H= I= stdin password-file= allow-empty reload= help version
end

function __fish_midge_passwd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_midge_passwd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_midge_passwd_using_subcommand
    set -l cmd (__fish_midge_passwd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -s H -d 'Kind of hash [default: the kind used in FILE; in a new file argon2id]' -r -f -a "sha512\t''
sha512-pbkdf2\t''
argon2id\t''"
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -s I -d 'PBKDF2 iterations [default: 1000]; alone it means -H sha512-pbkdf2' -r
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -l password-file -d 'Read the password from this file; one final newline is dropped' -r -F
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -l reload -d 'After a change, send SIGHUP to the broker with this process id, or with the one in this file, so that it reads FILE again' -r
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -s b -d 'Take PASSWORD from the command line, where other users of the machine can see it'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -s c -d 'Write a new file that holds only USER; the users of an existing password file are dropped'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -s D -d 'Delete USER'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -s U -d 'Hash the plain-text passwords of FILE; lines that hold a hash are left alone'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -l stdin -d 'Read the password from standard input, up to its end; one final newline is dropped'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -l allow-empty -d 'Accept an empty password'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -l help -d 'Print this help'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -l version -d 'Print the version'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -a "verify" -d 'Tell whether a password is the one of USER'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -a "list" -d 'List the users and the kinds of their hashes'
complete -c midge_passwd -n "__fish_midge_passwd_needs_command" -a "check" -d 'Report every line that is corrupt or that some broker rejects'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand verify" -l password-file -d 'Read the password from this file; one final newline is dropped' -r -F
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand verify" -l stdin -d 'Read the password from standard input, up to its end; one final newline is dropped'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand verify" -l help -d 'Print this help'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand verify" -l version -d 'Print the version'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand list" -l help -d 'Print this help'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand list" -l version -d 'Print the version'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand check" -l help -d 'Print this help'
complete -c midge_passwd -n "__fish_midge_passwd_using_subcommand check" -l version -d 'Print the version'
