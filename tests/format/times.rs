//! Local time, as strftime of the C library prints it in the C locale.

use super::*;

#[test]
fn each_conversion_of_strftime() {
    check(
        &message("f", b""),
        &[
            ("@A @a", "Friday Fri"),
            ("@B @b @h", "November Nov Nov"),
            ("@C @G @g @Y @y", "20 2026 26 2026 26"),
            ("@c", "Fri Nov 20 11:30:25 2026"),
            ("@D @F @x", "11/20/26 2026-11-20 11/20/26"),
            ("@d @e @j @m", "20 20 324 11"),
            ("@H @I @k @l @M @S", "11 11 11 11 30 25"),
            ("@n@t", "\n\t"),
            ("@P @p", "am AM"),
            ("@R @r @T @X", "11:30 11:30:25 AM 11:30:25 11:30:25"),
            ("@s", "1795170625"),
            ("@U @V @W @u @w", "46 47 46 5 5"),
            ("@Z @z", "CET +0100"),
            ("@@ @%", "@ %"),
            ("@N", "336538123"),
        ],
    );
}

#[test]
fn what_strftime_does_not_know_is_copied_with_its_percent_sign() {
    check(
        &message("f", b""),
        &[
            ("@E@J@K@L@O@Q", "%E%J%K%L%O%Q"),
            ("@f@i@o@q@v", "%f%i%o%q%v"),
            ("@!@ @ü@\\", "%!% %ü%\\"),
        ],
    );
}

#[test]
fn iso_8601_and_unix_time() {
    check(
        &message("f", b""),
        &[
            ("%I", "2026-11-20T11:30:25+0100"),
            ("%26I", "  2026-11-20T11:30:25+0100"),
            ("%-26I|", "2026-11-20T11:30:25+0100  |"),
            ("%.4I", "2026"),
            ("%U", "1795170625.336538123"),
            ("%30U", "1795170625.336538123"),
        ],
    );
}

#[test]
fn the_offset_is_that_of_the_moment() {
    let mut renderer = Renderer::in_zone(Format::parse("%I %U").unwrap(), zone());
    let mut out = Vec::new();
    // The second that summer time ends in, and the one before; then back, as clocks are set.
    for nanoseconds in [1_792_889_999_999_999_999, 1_792_890_000_000_000_000, 999_999_999] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        renderer.render_at(&message("f", b""), time, &mut out).unwrap();
    }
    let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
    renderer.render_at(&message("f", b""), before, &mut out).unwrap();
    let expected = "2026-10-25T02:59:59+0200 1792889999.999999999\n\
                    2026-10-25T02:00:00+0100 1792890000.000000000\n\
                    1970-01-01T01:00:00+0100 0.999999999\n\
                    1970-01-01T00:59:59+0100 -1.999000000\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_system_clock_is_read_when_a_message_is_printed() {
    let mut out = Vec::new();
    let before = SystemTime::now();
    let mut renderer = Renderer::new(Format::parse("@s.@N").unwrap().newline(false));
    renderer.render(&message("f", b""), &mut out).unwrap();
    let printed = SystemTime::UNIX_EPOCH
        + Duration::from_secs_f64(String::from_utf8(out).unwrap().parse().unwrap());
    let slack = Duration::from_millis(1);
    assert!(printed + slack >= before && printed <= SystemTime::now() + slack);
}
