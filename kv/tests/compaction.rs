//! History that goes by itself.
mod support;

use etcd_client::{Client, Error, GetOptions};
use support::{Member, folder};

/// etcd's code and words of a refusal.
fn refusal<T>(result: Result<T, Error>) -> (i32, String) {
    match result {
        Err(Error::GRpcStatus(status)) => (status.code().into(), status.message().to_owned()),
        Err(other) => panic!("a refusal was expected, not {other}"),
        Ok(_) => panic!("a refusal was expected"),
    }
}

#[tokio::test]
async fn history_goes_by_itself_when_told_so() {
    let folder = folder();
    let member = Member::start_with(folder.path(), &["--auto-compaction-retention", "100ms"]);
    let mut client = Client::connect([member.endpoint()], None).await.expect("connect");
    client.put("a", "1", None).await.expect("put");
    client.put("a", "2", None).await.expect("put");
    let old = || Some(GetOptions::new().with_revision(2));
    let gone = loop {
        if let refused @ Err(_) = client.get("a", old()).await {
            break refusal(refused);
        }
    };
    assert_eq!(gone, (11, "etcdserver: mvcc: required revision has been compacted".into()));
    assert_eq!(client.get("a", None).await.expect("get").kvs()[0].value(), b"2");
}
