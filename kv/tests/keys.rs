//! Key files of every form, for signed login tokens: each works with its methods, and is refused by name for others.
use std::{fs, path::PathBuf};

use hull_kv::jwt::{Jwt, JwtOptions};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
};
use tempfile::TempDir;

// One key of RSA, as OpenSSL writes it: rcgen makes none.
const RSA_PKCS1: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEA1cC2wywU1ru7+xd5akfrUWqVBmiDRvOB/BzBxufH8bhIBAJc
UTVjq/DDgNeOzl+4tKhB3GBcHcE8cxebfWUZTIp6TyxuwCni840tuy6bqrPfu/5f
B/uMtrqCLlzyfVqGACoW2Q01W2Kt3LZosZh3BsduTzlx/ZM7KcAJwO/DKl2c4kO1
p8K3QDZOzTz9vW7z7LM3ASWgL2/wjeUTsbhaf+ymG3YXqVvrvkbl+PNzXFo352ef
Zc7qV0k6ze7yUYAEtfhTwfCBzfXjFWyCAEwignDhQyY3QX40+QbSvKHRSByssmMp
hJO87NbfHm1NYYLcA7dTTE+4bOWeKNQjXOR5/wIDAQABAoIBAFBRs9suyz3NGVvG
fFcVYzUaqZjY2MtmYOeNHrtRCO6pYlYvVOUm/Kb1N2FInl6p1Uv9FZJrmvGLVN2i
d0jtHk6GkmMBvTP0CVWfLRny74d7Q4zujmL/gOaAur4VKwEzbLrPFfrFXdFTCSWw
XTKuqbsgYTDf0xeHpWmQwZl//oQCLUPu8iYXdutrJWmSkC6HUVb457cuhlD2x4VR
tAVpVjz13kWyeexOlH0eqQgASTHIEAb/EdOcOJqVV0WdQnt86o+M0LySZZTFr5AO
5AHim08BTZuHSjp6jcmx/y5EwrJcxioH05B95SwIr0TTh8ZuPynuFKLVcpEgLo3o
Lg3OdBECgYEA7wc1+SicikKnzeUwdfZDBWSXjrHADVtninSXFdhUJoviY6fveN7F
ryLKo3Hp45QGU6zuuWH+nXg1Gp0afo2QihQGsw37jgJd4XIilH0CpwSUvSEs0Ibb
qyUoAU7RNYFO+R5T6yNTWToioFSme+3pdHcygUmBWizXzse9hJ9HNPMCgYEA5O4T
RBBw3g76lmWbM3WCdyWDsEsB4sEaAPhhNZlh62kHtdNCwyWQLaQUuA1lZ20qr4ht
Xyg9M5TFpB7nCdPI0/eBZQ9SWBQ+yeEDPNKT4Y8RjARRHwXukYSItpsT24KdS2LY
5m41v3htpWr2Eed3qjP/mzeSqZybm7ZtjDyfGcUCgYEAt94XIaOgzyY5CMQNhCA8
K/DWOLj44A1412OaOP6gtMoUCs7LAnJzJKahtBrTbPGX8FPtiwMbpiwqxV8mW0Uw
c1a2VJQj9nhRmTN/8DM9kBaRB+92Fq42Wi+J13+2pO7kPfObYBxbaB61NhoHuvsn
AyUR36wYabJnC7RQT61qTAsCgYEAypE3DvUVSggrB8VkbUY/aToSqn3Ub1a6sb0W
Fx1fnbRUFDmZS6ADUb9sbee8oKXiLWwkixzJ+shbkfueJ/30KEtLfabvD+zqGiw2
dy1FmULFHgX72d2f2bdSWXIjQgrzL++JSWyftorTSpm4nuMX6c0VEb0800Q2FLR5
fqtthJkCgYB9MDt9LSigyq69+t1oiJ9rDo4VVZJl1QZZLReXgXV8PEd9qvbEUECz
ZWHdIJPfV8BXdo7I3EG9llqqi0+lrWiRBKGSrryomIfY4IGpJnd+WM8lN+Qxrb84
qtuUy3RBMeIdr8yBbU4VDYU+ZpY14oLi8yyzqfUYPO7a9nZy9DhhZg==
-----END RSA PRIVATE KEY-----
";

const RSA_PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDVwLbDLBTWu7v7
F3lqR+tRapUGaING84H8HMHG58fxuEgEAlxRNWOr8MOA147OX7i0qEHcYFwdwTxz
F5t9ZRlMinpPLG7AKeLzjS27Lpuqs9+7/l8H+4y2uoIuXPJ9WoYAKhbZDTVbYq3c
tmixmHcGx25POXH9kzspwAnA78MqXZziQ7WnwrdANk7NPP29bvPsszcBJaAvb/CN
5ROxuFp/7KYbdhepW+u+RuX483NcWjfnZ59lzupXSTrN7vJRgAS1+FPB8IHN9eMV
bIIATCKCcOFDJjdBfjT5BtK8odFIHKyyYymEk7zs1t8ebU1hgtwDt1NMT7hs5Z4o
1CNc5Hn/AgMBAAECggEAUFGz2y7LPc0ZW8Z8VxVjNRqpmNjYy2Zg540eu1EI7qli
Vi9U5Sb8pvU3YUieXqnVS/0Vkmua8YtU3aJ3SO0eToaSYwG9M/QJVZ8tGfLvh3tD
jO6OYv+A5oC6vhUrATNsus8V+sVd0VMJJbBdMq6puyBhMN/TF4elaZDBmX/+hAIt
Q+7yJhd262slaZKQLodRVvjnty6GUPbHhVG0BWlWPPXeRbJ57E6UfR6pCABJMcgQ
Bv8R05w4mpVXRZ1Ce3zqj4zQvJJllMWvkA7kAeKbTwFNm4dKOnqNybH/LkTCslzG
KgfTkH3lLAivRNOHxm4/Ke4UotVykSAujeguDc50EQKBgQDvBzX5KJyKQqfN5TB1
9kMFZJeOscANW2eKdJcV2FQmi+Jjp+943sWvIsqjcenjlAZTrO65Yf6deDUanRp+
jZCKFAazDfuOAl3hciKUfQKnBJS9ISzQhturJSgBTtE1gU75HlPrI1NZOiKgVKZ7
7el0dzKBSYFaLNfOx72En0c08wKBgQDk7hNEEHDeDvqWZZszdYJ3JYOwSwHiwRoA
+GE1mWHraQe100LDJZAtpBS4DWVnbSqviG1fKD0zlMWkHucJ08jT94FlD1JYFD7J
4QM80pPhjxGMBFEfBe6RhIi2mxPbgp1LYtjmbjW/eG2lavYR53eqM/+bN5KpnJub
tm2MPJ8ZxQKBgQC33hcho6DPJjkIxA2EIDwr8NY4uPjgDXjXY5o4/qC0yhQKzssC
cnMkpqG0GtNs8ZfwU+2LAxumLCrFXyZbRTBzVrZUlCP2eFGZM3/wMz2QFpEH73YW
rjZaL4nXf7ak7uQ985tgHFtoHrU2Gge6+ycDJRHfrBhpsmcLtFBPrWpMCwKBgQDK
kTcO9RVKCCsHxWRtRj9pOhKqfdRvVrqxvRYXHV+dtFQUOZlLoANRv2xt57ygpeIt
bCSLHMn6yFuR+54n/fQoS0t9pu8P7OoaLDZ3LUWZQsUeBfvZ3Z/Zt1JZciNCCvMv
74lJbJ+2itNKmbie4xfpzRURvTzTRDYUtHl+q22EmQKBgH0wO30tKKDKrr363WiI
n2sOjhVVkmXVBlktF5eBdXw8R32q9sRQQLNlYd0gk99XwFd2jsjcQb2WWqqLT6Wt
aJEEoZKuvKiYh9jggakmd35YzyU35DGtvziq25TLdEEx4h2vzIFtThUNhT5mljXi
guLzLLOp9Rg87tr2dnL0OGFm
-----END PRIVATE KEY-----
";

const RSA_PKCS1_PUBLIC: &str = "\
-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEA1cC2wywU1ru7+xd5akfrUWqVBmiDRvOB/BzBxufH8bhIBAJcUTVj
q/DDgNeOzl+4tKhB3GBcHcE8cxebfWUZTIp6TyxuwCni840tuy6bqrPfu/5fB/uM
trqCLlzyfVqGACoW2Q01W2Kt3LZosZh3BsduTzlx/ZM7KcAJwO/DKl2c4kO1p8K3
QDZOzTz9vW7z7LM3ASWgL2/wjeUTsbhaf+ymG3YXqVvrvkbl+PNzXFo352efZc7q
V0k6ze7yUYAEtfhTwfCBzfXjFWyCAEwignDhQyY3QX40+QbSvKHRSByssmMphJO8
7NbfHm1NYYLcA7dTTE+4bOWeKNQjXOR5/wIDAQAB
-----END RSA PUBLIC KEY-----
";

/// `openssl ecparam -genkey -name prime256v1`
const P256_SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIIpOMRFV7fRqDTFkynggjO+3LOzr/Z6kD0/clOdvsQJVoAoGCCqGSM49
AwEHoUQDQgAECtwPevJafYtMIqBwLB/lZYiPUBajCWctUWkwqarK1xvvbrOPLLTZ
JSRTkG54gRHvF2eOx9zTwV8aDzgxLMtfwg==
-----END EC PRIVATE KEY-----
";

/// `openssl ecparam -genkey -noout -name secp384r1`
const P384_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDC4G4WeXU/1cEptwuRtD1MahRUzhAVg3T3iSBN6hGcSzu8rKu62lKlt
SEgMxRd97eSgBwYFK4EEACKhZANiAAS+ykXbGytg+r/A4JUoMSb1jo9BLfJlscwJ
c1b6dowjIp8hMkQ87iP0AxMPgnFoJ7fls2ANtttOCsU27Go9wIJXXqzPKRjJ3e31
17oSCVF6OuagczxvxZkKWZ+ZLHLF83c=
-----END EC PRIVATE KEY-----
";

const P256_SEC1_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECtwPevJafYtMIqBwLB/lZYiPUBaj
CWctUWkwqarK1xvvbrOPLLTZJSRTkG54gRHvF2eOx9zTwV8aDzgxLMtfwg==
-----END PUBLIC KEY-----
";

const P384_SEC1_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEvspF2xsrYPq/wOCVKDEm9Y6PQS3yZbHM
CXNW+naMIyKfITJEPO4j9AMTD4JxaCe35bNgDbbbTgrFNuxqPcCCV16szykYyd3t
9de6EglRejrmoHM8b8WZClmfmSxyxfN3
-----END PUBLIC KEY-----
";

/// A curve that no method is for: `openssl ecparam -genkey -noout -name secp521r1`, and `openssl ec -pubout`.
const P521_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MIHcAgEBBEIBv8BT579ROZ5xj8VTLX8AEpNLHAbe+N8DgRj6DvBetmlvprPXiGIj
Sh2o9GKKBsc8hfQ1OepUEZSygijoafPTq6WgBwYFK4EEACOhgYkDgYYABACdhHvn
XvRC6DYnlemWu7YNv++HVzKORcdEQfMf/mwYrQItlIm4beaeSdvWsteyTbrfU4bR
gGACq1N33ERHQ0yrtQEfJ3zoDCSXOyQE0fBuCKNHLV8a5aPCEte2kOrOS5lci93s
gyemQeJH/k2bpLj/C2SixkJJ6kDoKkaPerlPF88csw==
-----END EC PRIVATE KEY-----
";

const P521_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAnYR75170Qug2J5Xplru2Db/vh1cy
jkXHREHzH/5sGK0CLZSJuG3mnknb1rLXsk2631OG0YBgAqtTd9xER0NMq7UBHyd8
6AwklzskBNHwbgijRy1fGuWjwhLXtpDqzkuZXIvd7IMnpkHiR/5Nm6S4/wtkosZC
SepA6CpGj3q5TxfPHLM=
-----END PUBLIC KEY-----
";

const RSA_METHODS: [&str; 6] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

/// A private key, and its public one as such and in a certificate (PEM).
struct Pair {
    private: String,
    public: String,
    certificate: String,
}

impl Pair {
    fn new(key: &KeyPair) -> Self {
        let certificate = CertificateParams::default().self_signed(key).expect("sign");
        Self { private: key.serialize_pem(), public: key.public_key_pem(), certificate: certificate.pem() }
    }

    fn of(kind: &'static SignatureAlgorithm) -> Self {
        Self::new(&KeyPair::generate_for(kind).expect("key"))
    }

    fn rsa() -> Self {
        Self::new(&KeyPair::from_pem(RSA_PKCS8).expect("key"))
    }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("write");
        path
    }

    /// Loads these keys, `private` unless it is empty.
    fn load(&self, method: &str, private: &str, public: &str) -> Result<Jwt, String> {
        let options = JwtOptions {
            method: method.to_owned(),
            public: Some(self.write("public.pem", public)),
            private: (!private.is_empty()).then(|| self.write("private.pem", private)),
            ttl: std::time::Duration::from_secs(60),
        };
        Jwt::load(options).map_err(|why| why.to_string())
    }

    fn sign(&self, method: &str, private: &str, public: &str) {
        let jwt = self.load(method, private, public).unwrap_or_else(|why| panic!("{method}: {why}\n{private}{public}"));
        let token = jwt.sign("ann", 7).expect("a token");
        assert_eq!(jwt.user_of(&token), Some(("ann".to_owned(), 7)), "{method}");
        let checks = self.load(method, "", public).expect("a public key is enough to check");
        assert_eq!(checks.user_of(&token), Some(("ann".to_owned(), 7)), "{method}");
    }

    /// The reason why a private key is refused; it names the file.
    fn no_private(&self, method: &str, private: &str, public: &str) -> String {
        let why = self.load(method, private, public).expect_err("it was taken");
        assert!(why.contains("private.pem") && why.contains(method), "{why}");
        why
    }

    /// The reason why a public key is refused; it names the file.
    fn no_public(&self, method: &str, public: &str) -> String {
        let why = self.load(method, "", public).expect_err("it was taken");
        assert!(why.contains("public.pem") && why.contains(method), "{why}");
        why
    }
}

#[test]
fn a_key_of_rsa_works_in_every_form() {
    let files = Files::new();
    let pair = Pair::rsa();
    for method in RSA_METHODS {
        files.sign(method, RSA_PKCS1, RSA_PKCS1_PUBLIC);
        files.sign(method, RSA_PKCS8, &pair.public);
    }
    files.sign("RS256", RSA_PKCS1, &pair.certificate);
    files.sign("RS256", &RSA_PKCS1.replace('\n', "\r\n"), &pair.public.replace('\n', "\r\n"));
}

#[test]
fn a_key_of_a_curve_works_in_every_form() {
    let files = Files::new();
    let [p256, p384] = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384].map(Pair::of);
    for (method, pair) in [("ES256", &p256), ("ES384", &p384)] {
        files.sign(method, &pair.private, &pair.public);
        files.sign(method, &pair.private, &pair.certificate);
    }
    files.sign("ES256", P256_SEC1, P256_SEC1_PUBLIC);
    files.sign("ES384", P384_SEC1, P384_SEC1_PUBLIC);
    let edwards = Pair::of(&PKCS_ED25519);
    files.sign("EdDSA", &edwards.private, &edwards.public);
    files.sign("EdDSA", &edwards.private, &edwards.certificate);
}

#[test]
fn what_else_is_in_a_file_is_passed_over() {
    let files = Files::new();
    let pair = Pair::of(&PKCS_ECDSA_P256_SHA256);
    let both = format!("Bag Attributes\n    friendlyName: a\n{}{}", pair.public, pair.private);
    files.sign("ES256", &both, &both);
}

#[test]
fn keys_of_another_kind_than_the_methods_are_refused_by_name() {
    let files = Files::new();
    let rsa = Pair::rsa();
    let [p256, p384, edwards] = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].map(Pair::of);
    let kinds = [("RSA", &rsa), ("P-256", &p256), ("P-384", &p384), ("Ed25519", &edwards)];
    for (method, wanted) in [("RS256", 0), ("PS512", 0), ("ES256", 1), ("ES384", 2), ("EdDSA", 3)] {
        for (at, (kind, pair)) in kinds.iter().enumerate().filter(|(at, _)| *at != wanted) {
            let cause = format!("{kind}, not for ");
            let whys = [
                files.no_private(method, &pair.private, &kinds[wanted].1.public),
                files.no_public(method, &pair.public),
                files.no_public(method, &pair.certificate),
            ];
            for why in whys {
                assert!(why.contains(&cause) && why.ends_with(kinds[wanted].0), "{at}: {why}");
            }
        }
    }
    assert!(files.no_private("ES256", RSA_PKCS1, P256_SEC1_PUBLIC).ends_with("RSA, not for the curve P-256"));
    assert!(files.no_private("ES256", P384_SEC1, P256_SEC1_PUBLIC).ends_with("P-384, not for the curve P-256"));
    assert!(files.no_private("ES384", P256_SEC1, P384_SEC1_PUBLIC).ends_with("P-256, not for the curve P-384"));
    assert!(files.no_private("RS256", P256_SEC1, RSA_PKCS1_PUBLIC).ends_with("P-256, not for RSA"));
    assert!(files.no_private("ES384", P521_SEC1, P384_SEC1_PUBLIC).contains("something else than"));
    assert!(files.no_public("EdDSA", RSA_PKCS1_PUBLIC).ends_with("RSA, not for Ed25519"));
    assert!(files.no_public("ES384", P521_PUBLIC).contains("something else than"));
}

#[test]
fn files_without_a_whole_key_are_refused_by_name() {
    let files = Files::new();
    let pair = Pair::of(&PKCS_ECDSA_P256_SHA256);
    assert!(files.no_private("ES256", &pair.public, &pair.public).contains("no private key"));
    assert!(files.no_public("ES256", &pair.private).contains("neither a public key nor a certificate"));
    assert!(files.no_public("ES256", "").contains("neither a public key nor a certificate"));
    // A label, and under it something else.
    let labelled = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let method = if label.starts_with("RSA") { "RS256" } else { "ES256" };
        let public = if label.starts_with("RSA") { RSA_PKCS1_PUBLIC } else { &pair.public };
        files.no_private(method, &labelled(label), public);
    }
    for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"] {
        assert!(files.no_public("RS256", &labelled(label)).contains("malformed"), "{label}");
    }
    let broken = pair.private.replace("-----END PRIVATE KEY-----", "");
    files.no_private("ES256", &broken, &pair.public);
}
