//! `/api/v1/thumbnail`, and the same of snapshots: small pictures of pictures, for those who may see them.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crate::backup::noise;
use crate::client::Device;
use crate::rest::Script;
use crate::server::TestServer;
use crate::snapshots::{back_up, files};

fn picture(width: u32, height: u32, blue: u8, format: ImageFormat) -> Vec<u8> {
    let mut file = Vec::new();
    let picture = RgbImage::from_fn(width, height, |x, y| Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], blue]));
    picture.write_to(&mut Cursor::new(&mut file), format).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_made_small_for_those_who_may_see_them() {
    let server = TestServer::start().await;
    let script = Script::new(&server, "admin", "admin").await;
    let photo = picture(640, 320, 0, ImageFormat::Jpeg);
    let old = script.put("a/photo%201.jpg", &photo).await.expect(201).json()["version"].as_u64().unwrap();
    script.put("same.JPEG", &photo).await.expect(201);
    let thumbnail = |path: &str| format!("/api/v1/thumbnail?path={}", path.replace('%', "%25"));
    let got = script.get(&thumbnail("a/photo%201.jpg")).await.expect(200);
    let small = image::load_from_memory_with_format(&got.body, ImageFormat::Jpeg).unwrap();
    assert_eq!((small.width(), small.height()), (160, 80));
    assert_eq!(got.headers["content-type"], "image/jpeg");
    assert_eq!(got.headers["content-security-policy"], "sandbox; default-src 'none'");
    assert_eq!(got.headers["cache-control"], "private, no-cache");
    let tag = got.headers["etag"].clone();
    let known = [("If-None-Match", tag.as_str())];
    assert_eq!(script.ask("GET", &thumbnail("a/photo%201.jpg"), &known, b"").await.status, 304);

    // It is that of the content, wherever that is, and of the version that is asked for.
    let same = script.get(&thumbnail("same.JPEG")).await.expect(200);
    assert!(same.body == got.body && same.headers["etag"] == tag);
    script.put("a/photo%201.jpg", &picture(100, 100, 255, ImageFormat::Jpeg)).await.expect(200);
    let newer = script.get(&thumbnail("a/photo%201.jpg")).await.expect(200);
    assert!(newer.headers["etag"] != tag && newer.body != got.body);
    let older = script.get(&format!("{}&version={old}", thumbnail("a/photo%201.jpg"))).await.expect(200);
    assert!(older.body == got.body);

    // What is no picture, or says to be one, or is too much, has none.
    let mut long = picture(8, 8, 0, ImageFormat::Png);
    long.resize((8 << 20) + 1, 0);
    let cut = picture(300, 300, 0, ImageFormat::Png);
    for (name, bytes) in [
        ("note.txt", b"text".to_vec()),
        ("x.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()),
        ("page.png", b"<script>alert(1)</script>".to_vec()),
        ("noise.gif", noise(1, 5000)),
        ("empty.png", Vec::new()),
        ("cut.png", cut[..cut.len() / 2].to_vec()),
        ("long.png", long),
    ] {
        script.put(name, &bytes).await.expect(201);
        for _ in 0..2 {
            let answer = script.get(&thumbnail(name)).await.expect(204);
            assert!(answer.body.is_empty(), "{name}");
        }
    }
    script.get(&thumbnail("nothing.png")).await.expect(404);
    script.get(&thumbnail("../x.png")).await.expect(400);
    script.get("/api/v1/thumbnail").await.expect(400);

    // Whoever may not read the file does not see the picture, though it is known by now.
    assert!(server.command(&["account", "add", "grace"]).await.status.success());
    let grace = Script::new(&server, "grace", "admin").await;
    grace.get(&thumbnail("same.JPEG")).await.expect(404);
    Script::new(&server, "admin", "put-only").await.get(&thumbnail("same.JPEG")).await.expect(403);

    // Many who ask at once wait for their turns.
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..20 {
        script.put(&format!("many/{number}.png"), &picture(200, 200, number, ImageFormat::Png)).await.expect(201);
        let (script, address) = (script.clone(), thumbnail(&format!("many/{number}.png")));
        asked.spawn(async move { script.get(&address).await.expect(200).body });
    }
    let mut made = asked.join_all().await;
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 20);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_in_a_snapshot_are_made_small_for_those_who_may_save_them() {
    let server = TestServer::start().await;
    let mut device = Device::new(&server).await;
    let photo = picture(640, 320, 0, ImageFormat::Jpeg);
    let list = [
        ("trip/day 1.jpg", &photo[..]),
        ("trip/same.JPEG", &photo),
        ("trip/page.png", b"<script>alert(1)</script>"),
        ("trip/note.txt", b"text"),
        ("trip/empty.png", b""),
    ];
    let id = back_up(&mut device, "home", 1, &files(&list)).await;
    let script = Script::new(&server, "admin", "read").await;
    let thumbnail = |path: &str| format!("/api/v1/snapshots/{id}/thumbnail?path={}", path.replace('%', "%25"));
    let got = script.get(&thumbnail("trip/day%201.jpg")).await.expect(200);
    let small = image::load_from_memory_with_format(&got.body, ImageFormat::Jpeg).unwrap();
    assert_eq!((small.width(), small.height()), (160, 80));
    assert_eq!(got.headers["content-security-policy"], "sandbox; default-src 'none'");
    assert_eq!(got.headers["cache-control"], "private, no-cache");
    let tag = got.headers["etag"].clone();
    let known = [("If-None-Match", tag.as_str())];
    assert_eq!(script.ask("GET", &thumbnail("trip/day%201.jpg"), &known, b"").await.status, 304);
    let same = script.get(&thumbnail("trip/same.JPEG")).await.expect(200);
    assert!(same.body == got.body && same.headers["etag"] == tag);
    for name in ["page.png", "note.txt", "empty.png"] {
        script.get(&thumbnail(&format!("trip/{name}"))).await.expect(204);
    }
    script.get(&thumbnail("trip/nothing.png")).await.expect(404);
    script.get(&thumbnail("trip")).await.expect(409);
    script.get(&thumbnail("../x.png")).await.expect(400);

    // The picture is known by now, and still only for whoever may save the file.
    assert!(server.command(&["account", "add", "grace"]).await.status.success());
    Script::new(&server, "grace", "admin").await.get(&thumbnail("trip/same.JPEG")).await.expect(404);
    Script::new(&server, "admin", "put-only").await.get(&thumbnail("trip/same.JPEG")).await.expect(403);
    server.stop().await;
}
