# Each recipe is one line; what needs logic is a Rust test or a subcommand of ferrymq.

# Format and lints, as .ci/run has them
check:
    cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings

# All tests, or those whose name holds the word
test *words:
    cargo test --workspace {{words}}

# The crash simulation of the store, optimised
sim *words:
    cargo test --release --package ferrymq-store --features sim {{words}}

# Fuzz one decoder; needs cargo-fuzz and a nightly toolchain
fuzz target *options:
    cd protocols && cargo +nightly fuzz run {{target}} {{options}}

# Measure a broker: just bench run --help
bench *options:
    cargo run --release -- bench {{options}}

# The documentation of the crates, without their dependencies
doc:
    cargo doc --workspace --no-deps --document-private-items

# Licences, advisories, sources; needs cargo-deny
deny:
    cargo deny --workspace check

# Write activemq.toml and the tables of docs/policies.md anew from the declarations in src/config
config:
    FERRYMQ_WRITE_CONFIG=1 cargo test --lib -- the_file_in_the_repository_is_the_declaration the_manual_lists_every_policy_key
