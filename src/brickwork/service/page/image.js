// The image of a query: chosen, dropped or pasted. It is drawn small here, so that every search sends little.

const LONGEST = 512;   // pixels of the longer side; models look at far fewer
const $ = (id) => document.getElementById(id);

/** Lets people give an image; calls `changed` with { name, data }, the data in base64, or with null. */
export function offerImage(changed) {
  $("image").hidden = false;
  const take = async (file) => {
    if (!file) return;
    const data = await shrunk(file);
    $("image-name").textContent = file.name || "image";
    $("image-off").hidden = false;
    changed({ name: file.name, data });
  };
  $("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
  $("image-off").addEventListener("click", () => {
    $("image-name").textContent = "or drop one here, or paste it";
    for (const id of ["image-off", "shown"]) $(id).hidden = true;
    $("file").focus();
    changed(null);
  });
  addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
}

/** The file in base64: drawn again at a small size, or as it is where this browser cannot draw it. */
async function shrunk(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  $("shown").hidden = !bitmap;
  if (!bitmap) return base64(await file.arrayBuffer());
  const { width, height } = bitmap, scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(scale * width));
  canvas.height = Math.max(1, Math.round(scale * height));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const side = $("shown").width, cut = Math.min(width, height);
  const pen = $("shown").getContext("2d");
  pen.clearRect(0, 0, side, side);
  pen.drawImage(bitmap, (width - cut) / 2, (height - cut) / 2, cut, cut, 0, 0, side, side);
  return canvas.toDataURL("image/png").split(",")[1];
}

function base64(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}
