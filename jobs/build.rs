//! A changed migration is a changed binary: `sqlx::migrate!` reads the folder when it is compiled.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
