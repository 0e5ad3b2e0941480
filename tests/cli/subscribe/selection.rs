//! -C, -R, -T and --random-filter.

use super::*;

/// Three topics with two messages each.
fn publish_six(broker: &Broker) {
    for payload in ["1", "2"] {
        for topic in ["s/a", "s/b", "s/b/c"] {
            publish(broker, &["-t", topic, "-m", payload]);
        }
    }
}

#[test]
fn topics_are_filtered_out_before_messages_are_counted() {
    let Some(broker) = Broker::start() else { return };
    let six = || publish_six(&broker);
    let printed = |args: &[&str]| {
        let args = [&["-t", "s/#", "-v", "-q", "1", "-W", "30"], args].concat();
        same_live(&broker, &args, six).success().stdout()
    };
    assert_eq!(printed(&["-C", "6"]), "s/a 1\ns/b 1\ns/b/c 1\ns/a 2\ns/b 2\ns/b/c 2\n");
    assert_eq!(printed(&["-C", "2", "-T", "s/b/#"]), "s/a 1\ns/a 2\n");
    assert_eq!(printed(&["-C", "3", "-T", "s/b", "-T", "s/+/c", "-C", "2"]), "s/a 1\ns/a 2\n");
    assert_eq!(printed(&["-C", "4", "-T", "+/b"]), "s/a 1\ns/b/c 1\ns/a 2\ns/b/c 2\n");
}

#[test]
fn every_filter_is_subscribed_to_in_one_packet() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "s/a", "-t", "s/b/+", "-t", "s/b", "-v", "-C", "3", "-W", "30"];
    let outcome = same_live(&broker, &args, || publish_six(&broker));
    assert_eq!(outcome.success().stdout(), "s/a 1\ns/b 1\ns/b/c 1\n");
    assert_eq!(broker.log().matches("Sending SUBACK to").count(), 2);
}

#[test]
fn retained_messages_are_left_out_with_r() {
    let Some(broker) = Broker::start() else { return };
    retain(&broker, &["r/a", "r/b"]);
    for version in ["mqttv311", "mqttv5"] {
        let args = ["-V", version, "-t", "r/#", "-R", "-C", "1", "-W", "30", "-F", "%r %p"];
        let outcome = same_live(&broker, &args, || publish(&broker, &["-t", "r/c", "-m", "live"]));
        assert_eq!(outcome.success().stdout(), "0 live\n");
    }
}

#[test]
fn the_retain_flag_is_kept_where_the_broker_is_asked_to() {
    let Some(broker) = Broker::start() else { return };
    let publish = || publish(&broker, &["-r", "-t", "rap", "-m", "x"]);
    let args = ["-V", "mqttv5", "-t", "rap", "-F", "%r", "-C", "1", "-W", "30"];
    assert_eq!(same_live(&broker, &args, publish).stdout(), "0\n");
    self::publish(&broker, &["-r", "-t", "rap", "-n"]);
    let args = [&args[..], &["--retain-as-published"]].concat();
    assert_eq!(same_live(&broker, &args, publish).success().stdout(), "1\n");
}

#[test]
fn retained_messages_come_when_they_are_asked_for() {
    let Some(broker) = Broker::start() else { return };
    retain(&broker, &["h"]);
    let session = ["-V", "5", "-i", "h", "-c", "-t", "h", "-C", "1"];
    let subscribe = |args: &[&str]| subscribe(&broker, &[&session[..], args].concat());
    assert_eq!(subscribe(&["-W", "30", "--retain-handling", "new"]).success().stdout(), "h\n");
    subscribe(&["-W", "1", "--retain-handling", "new"]).said(27, "timed out");
    subscribe(&["-W", "1", "--retain-handling", "never"]).said(27, "timed out");
    assert_eq!(subscribe(&["-W", "30", "--retain-handling", "always"]).success().stdout(), "h\n");
    subscribe(&["-W", "1", "-R"]).said(27, "timed out");
}

#[test]
fn a_random_filter_prints_its_share_and_counts_all() {
    let Some(broker) = Broker::start() else { return };
    let lines = "x\n".repeat(2000);
    for (percent, range) in [("50", 850..=1150), ("100", 2000..=2000), ("0.1", 0..=20)] {
        let subacks = broker.log().matches("Sending SUBACK to").count();
        let args = ["-t", "half", "-q", "1", "-C", "2000", "-W", "60", "--random-filter", percent];
        let subscriber = subscriber(&broker, subacks + 1, &args);
        publish_lines(&broker, "half", &lines);
        let count = subscriber.wait().success().stdout().lines().count();
        assert!(range.contains(&count), "{count} of 2000 at {percent}%");
    }
}

#[test]
fn values_that_cannot_be_are_refused() {
    let refused = |args: &[&str], text: &str| {
        run(midge_sub().args(["-t", "a"]).args(args)).said(1, text);
    };
    for percent in ["0", "0.05", "100.1", "1000", "half", "NaN", "-1"] {
        refused(&["--random-filter", percent], "'--random-filter <PERCENT>': must be a number");
    }
    for count in ["0", "-1", "x"] {
        refused(&["-C", count], "'-C <COUNT>'");
        refused(&["-W", count], "'-W <SECONDS>'");
    }
    refused(&["--retain-handling", "often"], "possible values: always, new, never");
    refused(&["-R", "--retained-only"], "-R and --retained-only leave no message");
    refused(&["-T", "a#"], "-T \"a#\" is not a topic filter");
    refused(&["-U", "a#"], "-U \"a#\" is not a topic filter");
}
