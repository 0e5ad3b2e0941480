//! What help and man page say besides the options.

pub(super) const USAGE: &str = "\
midge_passwd [-H HASH] [-I N] [-c] [--stdin|--password-file F] FILE USER
       midge_passwd [-H HASH] [-I N] [-c] -b FILE USER PASSWORD
       midge_passwd -D FILE USER
       midge_passwd [-H HASH] [-I N] -U FILE
       midge_passwd verify FILE USER
       midge_passwd list FILE
       midge_passwd check FILE";

/// The usage of `verify`, `list` or `check`.
pub(super) fn word_usage(word: &str) -> String {
    let operands = match word {
        "verify" => "[--stdin|--password-file F] FILE USER",
        _ => "FILE",
    };
    format!("midge_passwd {word} {operands}")
}

pub(super) const ABOUT: &str = "\
Manage the password files of MQTT brokers.

Adds USER to FILE or gives it another password, which is asked for twice on the terminal. The \
command lines of mosquitto_passwd work as they are. FILE is locked and replaced in one step: a \
broker that reads it, or a machine that goes down, sees the old file or the new one, and other \
edits wait their turn. Owner, group, mode, comments, blank lines, and the lines and the order of \
other users stay as they are.";

pub(super) const NOTES: &str = "\
Words that begin with '-':
  Options stand anywhere. A command line that mosquitto_passwd would accept means the same here, so \
that after FILE a USER or PASSWORD may begin with '-' ('-b FILE USER -secret'). Otherwise put '--' \
in front of the operands. A file that is called verify, list or check is './verify'.

Hashes:
  argon2id       brokers from 2.1 on; 46 MiB of memory, one pass
  sha512-pbkdf2  brokers from 2.0 on; 1000 iterations, more with -I
  sha512         every broker; fast to guess, for brokers before 2.0
Without -H a FILE keeps its kind: sha512-pbkdf2 if some entry has it, else sha512, else argon2id. \
So a broker that reads the entries of today reads the next one too.

Cost per login:
  A mosquitto broker computes the hash once for each login with a password, in the thread that serves \
all clients, which wait meanwhile. On a 3 GHz core that is about 0.05 s and 46 MiB for argon2id, \
0.001 s for sha512-pbkdf2 with 1000 iterations (0.1 s with -I 100000, 10 s with -I 10000000), and \
nothing to speak of for sha512. Whoever steals the file pays the same for each guess.

Passwords:
  A password is 1 to 65535 bytes, hashed as they are. The prompt takes UTF-8 without control \
characters; --stdin and --password-file take any bytes. With -b the password can be seen in the \
process list and stays in the shell's history.

Files:
  FILE.midge-… names with a leading dot stand beside FILE during an edit; what a killed edit leaves \
behind is removed by the next. A line that is neither entry, comment nor blank stops every edit, \
named by its number: mend it first. 'check' reports all such lines, and those that some broker \
rejects; it fails if brokers from 2.1 on do.";
