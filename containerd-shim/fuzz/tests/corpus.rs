//! Every input of the corpus is fed to its target.

use std::fs;
use std::path::Path;

#[test]
fn no_input_of_the_corpus_makes_a_decoder_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in hull_oci_fuzz::TARGETS {
        let inputs = fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("corpus/{name}: {error}"));
        let mut fed = 0;
        for input in inputs {
            let path = input.unwrap().path();
            eprintln!("{}", path.display());
            target(&fs::read(&path).unwrap());
            fed += 1;
        }
        assert!(fed > 0, "corpus/{name} is empty");
    }
}
