//! A real rsyslogd, of this test's own, takes what the server logs.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::lines;
use crate::command::{Running, Scratch, await_that};
use crate::harness::server::Program;

struct Rsyslogd(Child);

impl Rsyslogd {
    /// Listens on this port, TCP and UDP, and on a socket `log`; writes to `received`.
    fn start(directory: &Path, port: u16) -> Rsyslogd {
        let place = directory.display();
        let conf = format!(
            "global(workDirectory=\"{place}\")\n\
             module(load=\"imtcp\")\nmodule(load=\"imudp\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             input(type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             input(type=\"imuxsock\" Socket=\"{place}/log.socket\" CreatePath=\"off\")\n\
             template(name=\"t\" type=\"string\" string=\"%pri% %syslogtag%%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{place}/received\" template=\"t\")\n"
        );
        fs::write(directory.join("rsyslog.conf"), conf).unwrap();
        let program = ["/usr/sbin/rsyslogd", "/usr/local/sbin/rsyslogd"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("rsyslogd is missing: apt-get install rsyslog");
        let child = Command::new(program)
            .arg("-n")
            .args(["-i", &format!("{place}/rsyslog.pid")])
            .args(["-f", &format!("{place}/rsyslog.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        await_that("rsyslogd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Rsyslogd(child)
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_rsyslogd_takes_lines_over_every_way() {
    let scratch = Scratch::new("rsyslog");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _daemon = Rsyslogd::start(&scratch.0, port);
    let received = scratch.0.join("received");
    let socket = format!("unix://{}/log.socket", scratch.0.display());
    await_that("rsyslogd has its socket", || scratch.0.join("log.socket").exists());
    // Facility 0 over the network, 3 never: `-r` has it from nats-server. Notice is 5.
    for address in [format!("udp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}"), socket] {
        let _ = fs::write(&received, "");
        fs::write(scratch.0.join("c.conf"), "debug: true\n").unwrap();
        let flags = ["-r", address.as_str()];
        let mut running = Running::start_with(&Program::under_test(), &scratch.0, &flags);
        let tag = format!("[{}]: Server is ready", running.0.id());
        await_that(&format!("a line over {address}"), || {
            lines(&received).iter().any(|line| line.contains(&tag) && line.contains("ringbus["))
        });
        running.signal("INT");
        assert_eq!(running.end(), Some(0), "{address}");
        await_that(&format!("the last line over {address}"), || {
            lines(&received).iter().any(|line| line.contains("Server Exiting.."))
        });
    }
}
