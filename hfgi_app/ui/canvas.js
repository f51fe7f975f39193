// The picture on the page: the photo, the edited face square laid over it, and a wipe between the two.

function makeCanvas(canvas) {
  const context = canvas.getContext("2d");
  const edited = document.createElement("canvas");
  const feathered = document.createElement("canvas");
  let photo = null, quad = null, mask = null, wipe = null, held = false, due = false;

  // The same feather as the server's: zero at the border of the square, whole from FEATHER of its width inwards.
  function featherMask(size) {
    if (mask?.width === size) return mask;
    const ramp = (at) => {
      const part = Math.min(1, Math.min(at, 1 - at) / FEATHER);
      return part * part * (3 - 2 * part);
    };
    const pixels = new ImageData(size, size);
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        pixels.data[4 * (row * size + column) + 3] = Math.round(255 * ramp((row + 0.5) / size) * ramp((column + 0.5) / size));
    mask = document.createElement("canvas");
    mask.width = mask.height = size;
    mask.getContext("2d").putImageData(pixels, 0, 0);
    return mask;
  }

  function paint() {
    due = false;
    if (!photo) return;
    const { width, height } = canvas;
    context.drawImage(held ? photo : edited, 0, 0, width, height);
    if (wipe !== null && !held && wipe > 0)
      context.drawImage(photo, 0, 0, photo.width * wipe, photo.height, 0, 0, width * wipe, height);
  }

  function repaint() {
    if (!due) requestAnimationFrame(paint);
    due = true;
  }

  function cover(bitmap) {
    const pen = edited.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(bitmap, 0, 0, edited.width, edited.height);
    repaint();
  }

  return {
    // corners: top left, bottom left, bottom right, top right, as parts (0..1) of the photo's width and height
    open(bitmap, corners) {
      photo = bitmap;
      quad = corners.map(([x, y]) => [x * bitmap.width, y * bitmap.height]);
      for (const each of [canvas, edited]) [each.width, each.height] = [bitmap.width, bitmap.height];
      cover(bitmap);
    },
    // one live frame: the edited face square alone
    frame(bitmap) {
      const size = bitmap.width, [origin, bottom, , right] = quad;
      feathered.width = feathered.height = size;
      const brush = feathered.getContext("2d");
      brush.drawImage(bitmap, 0, 0);
      brush.globalCompositeOperation = "destination-in";
      brush.drawImage(featherMask(size), 0, 0);
      const pen = edited.getContext("2d");
      cover(photo);
      pen.setTransform((right[0] - origin[0]) / size, (right[1] - origin[1]) / size,
        (bottom[0] - origin[0]) / size, (bottom[1] - origin[1]) / size, origin[0], origin[1]);
      pen.drawImage(feathered, 0, 0);
    },
    whole: cover,
    original: () => photo && cover(photo),
    wipeAt(part) { wipe = part; repaint(); },
    hold(on) { held = on; repaint(); },
    clear() { photo = null; canvas.width = edited.width = 0; },
  };
}
