//! The program that runs inside the containers of the tests: a static file that does one thing and says what it saw.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["true"] => {}
        ["exit", code] => std::process::exit(code.parse().unwrap_or(99)),
        ["cat", file] => print!("{}", fs::read_to_string(file).unwrap_or_else(|error| format!("error: {error}"))),
        ["write", file, text] => match fs::write(file, text) {
            Ok(()) => println!("written"),
            Err(error) => println!("error: {error}"),
        },
        ["look", file] => match fs::symlink_metadata(file) {
            Ok(found) => println!("{:?}", found.file_type()),
            Err(error) => println!("error: {error}"),
        },
        ["owner", file] => match fs::metadata(file) {
            Ok(found) => println!("{}:{} {:o}", found.uid(), found.gid(), found.mode()),
            Err(error) => println!("error: {error}"),
        },
        ["ready"] => ready(),
        ["say", text] => println!("{text}"),
        // The standard library says nothing of an output that cannot be written to; this exits with 1.
        ["insist", text] => insist(text),
        ["env", name] => println!("{}", std::env::var(name).unwrap_or_default()),
        ["keep", name, file] => drop(fs::write(file, std::env::var(name).unwrap_or_default())),
        ["descriptors"] => descriptors(),
        ["told", file] => drop(fs::write(file, std::io::read_to_string(std::io::stdin()).unwrap_or_default())),
        ["wait"] => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        ["fill"] => fill(),
        ["catch"] => catch(),
        other => {
            eprintln!("probe: {other:?} is nothing to do");
            std::process::exit(98);
        }
    }
}

/// Says which descriptors are open beside the standard streams.
fn descriptors() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let number: u32 = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or_default();
        // That which reads the folder is open, too.
        if number > 2 && !target.starts_with("/proc") {
            println!("{number} {}", target.display());
        }
    }
}

/// Says that it is ready (sd_notify(3)), and waits.
fn ready() {
    let address = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    let socket = std::os::unix::net::UnixDatagram::unbound();
    for message in ["STATUS=almost", "READY=1"] {
        match socket.as_ref().map(|socket| socket.send_to(message.as_bytes(), &address)) {
            Ok(Ok(_)) => {}
            failed => println!("{address}: {failed:?}"),
        }
    }
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Uses memory until there is none.
fn fill() {
    let mut pieces = Vec::new();
    loop {
        pieces.push(vec![1_u8; 1 << 20]);
    }
}

/// Waits for a process of the runtime, takes hold of its file, and writes to it when it has ended: CVE-2019-5736.
fn catch() {
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    println!("waits");
    loop {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let exe = entry.path().join("exe");
            let Ok(target) = fs::read_link(&exe) else { continue };
            if target == own {
                continue;
            }
            let Ok(file) = fs::File::open(&exe) else { continue };
            let held = format!("/proc/self/fd/{}", file.as_raw_fd());
            println!("holds");
            // No file can be written to that is executed: another process of the runtime may still be on its way.
            for _ in 0..1000 {
                std::thread::sleep(Duration::from_millis(2));
                match fs::OpenOptions::new().write(true).open(&held) {
                    Ok(_) => {
                        println!("caught {}: it can be written to", target.display());
                        return;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                    Err(error) => {
                        println!("caught {}: {error}", target.display());
                        return;
                    }
                }
            }
            println!("caught {}: it is always busy", target.display());
            return;
        }
    }
}

fn insist(text: &str) {
    let mut output = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    std::process::exit(i32::from(output.write_all(text.as_bytes()).is_err()));
}
