// Returns what is wrong with what the page shows now: pale text and graphics, what is wider than the window, headings.
(() => {
  const problems = new Set();
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const words = (node) => `${node.tagName} ${node.id} ${node.className.baseVal ?? node.className} ${node.textContent.trim().slice(0, 30)}`;

  function colour(text) {
    const [red, green, blue, alpha] = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { channels: [red, green, blue], alpha: text.startsWith("rgb") ? alpha ?? 1 : 0 };
  }
  function groundOf(node) {
    for (let one = node; one; one = one.parentElement) {
      const found = colour(getComputedStyle(one).backgroundColor);
      if (found.alpha === 1) return found.channels;
    }
    return isDark ? [18, 18, 18] : [255, 255, 255];
  }
  function luminance(channels) {
    const [red, green, blue] = channels.map((value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }
  function check(node, text, ground, least) {
    const [bright, dim] = [luminance(colour(text).channels), luminance(ground)].sort((one, other) => other - one);
    const contrast = (bright + 0.05) / (dim + 0.05);
    if (contrast < least) problems.add(`contrast ${contrast.toFixed(1)}: ${words(node)}`);
  }

  // Of 300 exchanges the first ones are enough.
  const shown = [...document.body.querySelectorAll("*:not(script, noscript, #list li:nth-child(n+4), #list li:nth-child(n+4) *)")].filter((node) => node.checkVisibility());
  for (const node of shown) {
    const style = getComputedStyle(node);
    const hasText = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
    if (hasText && node.namespaceURI.endsWith("xhtml")) check(node, style.color, groundOf(node), 4.5);
    if (node.matches("svg [class]")) check(node, node.matches(".line") ? style.stroke : style.fill, groundOf(node.ownerSVGElement), 3);
    if (node.matches("input:not([type=checkbox]), select")) check(node, style.borderTopColor, groundOf(node.parentElement), 3);
    if (node.matches("button, select, summary") && node.getBoundingClientRect().height < 24) problems.add(`low: ${words(node)}`);
    const isWider = node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0 && style.display !== "inline";
    if (isWider && !node.matches(".hidden, .skip, #list .what, input, select")) problems.add(`wider than its place: ${words(node)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) problems.add(`wider than the window: ${document.documentElement.scrollWidth}`);
  let level = 0;
  for (const heading of shown.filter((node) => /^H\d$/.test(node.tagName))) {
    if (heading.tagName[1] > level + 1) problems.add(`a heading of level ${heading.tagName[1]} below ${level}: ${words(heading)}`);
    level = Number(heading.tagName[1]);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size < ids.length) problems.add("an id stands twice");
  return [...problems];
})();
