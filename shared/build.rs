//! Stops the build with one line where the lab can't run.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if os != "linux" {
        println!(
            "cargo::error=this lab is for Linux and can't be built for {os}: open the folder in its dev container (.devcontainer/devcontainer.json)"
        );
    }
}
