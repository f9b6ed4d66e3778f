// Text that is hard to read: what WCAG AA asks for is a contrast of 4.5, or 3 for large letters.
const channel = (it) => (it / 255 <= 0.04045 ? it / 255 / 12.92 : ((it / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const opaque = ([, , , alpha = 1]) => alpha === 1;

function behind(node) {
  for (let at = node; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    // A tint of the row, as long as its share: the text must be readable on it too.
    if (at.classList.contains("share")) return numbers(getComputedStyle(at).backgroundImage).slice(0, 3);
    const color = numbers(style.backgroundColor);
    if (color.length >= 3 && opaque(color)) return color;
  }
  return [255, 255, 255];
}

const bad = [];
let looked_at = 0;
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((it) => it.nodeType === 3 && it.data.trim());
  if (!own || node.closest("[hidden], .hidden, :disabled, script, noscript") || !node.getClientRects().length) continue;
  looked_at += 1;
  const style = getComputedStyle(node);
  const color = numbers(node.closest("svg") ? style.fill : style.color);
  const [a, b] = [light(color), light(behind(node))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (large ? 3 : 4.5)) {
    bad.push(`${node.tagName}.${node.getAttribute("class")} “${node.textContent.trim().slice(0, 30)}” ${ratio.toFixed(2)}`);
  }
}
return { bad, looked_at };
