//! Other people's programs, where they are installed, each with its version.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Uid;

use crate::measure::process::{Server, Usage, run};
use crate::measure::setting::Setting;

/// How long iperf3 may go on saying that it is busy.
const MOMENT: Duration = Duration::from_secs(10);

/// A program of this machine.
pub struct Peer {
    path: PathBuf,
    /// `curl 7.88.1`
    pub name: String,
}

impl Peer {
    /// Looks for it. If it isn't there, that is remembered.
    pub fn find(program: &str, version: &str, setting: &mut Setting) -> Option<Self> {
        // Servers are where not everybody looks.
        let paths = [program.into(), Path::new("/usr/sbin").join(program)];
        let found = paths.into_iter().find_map(|path| {
            let output = Command::new(&path).arg(version).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            Some(Self { path, name: name(program, &String::from_utf8_lossy(&text)) })
        });
        if found.is_none() {
            setting.leave_out(format!("{program}: it is not installed"));
        }
        found
    }

    fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// `nginx 1.22.1` out of `nginx version: nginx/1.22.1`.
fn name(program: &str, said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let mut words = line.split([' ', '/']);
    let version = words.find(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    format!("{program} {}", version.unwrap_or("?"))
}

/// nginx, which serves the files of `dir` with sendfile.
pub fn nginx(nginx: &Peer, dir: &Path, setting: &Setting) -> Result<Server> {
    let port = free_port()?;
    let home = setting.place.disk().join(format!("nginx-{port}"));
    fs::create_dir(&home).context("create a directory")?;
    // Its workers must be able to read what is ours.
    let user = if Uid::effective().is_root() { "user root;" } else { "" };
    let (dir, h) = (dir.display(), home.display());
    let configuration = format!(
        "{user} worker_processes auto; daemon off; pid {h}/pid; error_log {h}/error.log;
        events {{ worker_connections 2048; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; open_file_cache max=100;
            default_type application/octet-stream;
            client_body_temp_path {h}/1; proxy_temp_path {h}/2; fastcgi_temp_path {h}/3;
            uwsgi_temp_path {h}/4; scgi_temp_path {h}/5;
            server {{ listen 127.0.0.1:{port} backlog=4096; root {dir}; }}
        }}"
    );
    let file = home.join("nginx.conf");
    fs::write(&file, configuration).context("write nginx.conf")?;
    let mut command = nginx.command();
    command.arg("-p").arg(&home).arg("-e").arg(home.join("error.log")).arg("-c").arg(file);
    Server::at(port, &mut command)
}

/// `python3 -m http.server`, which serves the files of `dir`.
pub fn python(python: &Peer, dir: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = python.command();
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(dir);
    Server::at(port, command.arg(port.to_string()))
}

/// The server of iperf3.
pub fn iperf3(iperf3: &Peer) -> Result<Server> {
    let port = free_port()?;
    let port_text = port.to_string();
    Server::at(
        port,
        iperf3.command().args(["--server", "--bind", "127.0.0.1", "--port", &port_text]),
    )
}

/// Has that server send so many bytes, from a buffer or (`-Z`) by sendfile. It serves one client at
/// a time, and the next one only a moment after the last one has gone.
pub fn iperf3_client(iperf3: &Peer, port: u16, bytes: u64, zero_copy: bool) -> Result<Usage> {
    let begin = Instant::now();
    loop {
        let mut command = iperf3.command();
        command.args(["--client", "127.0.0.1", "--reverse", "--port", &port.to_string()]);
        command.args(["--bytes", &bytes.to_string()]).args(zero_copy.then_some("--zerocopy"));
        match run(&mut command) {
            Err(error) if error.to_string().contains("busy") && begin.elapsed() < MOMENT => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// curl, which fetches a file of the server at `port` and saves it as `out`.
pub fn curl(curl: &Peer, port: u16, name: &str, out: &Path) -> Command {
    let mut command = curl.command();
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--output"]).arg(out);
    command.arg(format!("http://127.0.0.1:{port}/{name}"));
    command
}

/// What a client of HTTP asks, in the shortest form that closes the connection at the end.
pub fn request(name: &str) -> String {
    format!("GET /{name} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn versions_are_found_in_what_programs_say_of_themselves() {
        assert_eq!(name("nginx", "nginx version: nginx/1.22.1\n"), "nginx 1.22.1");
        assert_eq!(name("curl", "curl 7.88.1 (x86_64) libcurl/7.88.1\n"), "curl 7.88.1");
        assert_eq!(name("python3", "Python 3.11.2\n"), "python3 3.11.2");
        assert_eq!(name("iperf3", "iperf 3.12 (cJSON 1.7.15)\n"), "iperf3 3.12");
        assert_eq!(name("odd", ""), "odd ?");
    }
}
