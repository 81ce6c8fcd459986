// A page made of plain data: h() says what there is, patch() makes the document so, touching what differs.
//
// Text becomes text nodes and nothing else; there is no way to hand markup to either.

export function h(tag, props, ...kids) {
  const flat = [];
  for (const kid of kids.flat(4)) {
    if (kid === null || kid === undefined || kid === false) continue;
    flat.push(typeof kid === "object" ? kid : String(kid));
  }
  return { tag, props: props ?? {}, kids: flat };
}

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "circle", "line", "g", "title"]);
// A name in an address may be anybody's word: no javascript: gets in.
const HREF = /^(#|\/(?!\/))/;

export function patch(parent, vnodes) {
  const list = Array.isArray(vnodes) ? vnodes : [vnodes];
  const keyed = new Map();
  for (const child of parent.childNodes) if (child._key !== undefined) keyed.set(child._key, child);
  let at = 0;
  for (const vnode of list) {
    let node = parent.childNodes[at];
    const key = vnode.props?.key;
    if (key !== undefined) {
      const known = keyed.get(key);
      if (known && known !== node) {
        parent.insertBefore(known, node ?? null);
        node = known;
      } else if (!known && node) {
        node = parent.insertBefore(made(vnode), node);
      }
    }
    if (!node) node = parent.appendChild(made(vnode));
    else if (!fits(node, vnode)) {
      const fresh = made(vnode);
      parent.replaceChild(fresh, node);
      node = fresh;
    }
    update(node, vnode);
    at++;
  }
  while (parent.childNodes.length > at) parent.removeChild(parent.lastChild);
}

function fits(node, vnode) {
  if (typeof vnode === "string") return node.nodeType === Node.TEXT_NODE;
  return node._tag === vnode.tag && node._key === vnode.props.key;
}

function made(vnode) {
  if (typeof vnode === "string") return document.createTextNode(vnode);
  const node = SVG_TAGS.has(vnode.tag)
    ? document.createElementNS(SVG, vnode.tag)
    : document.createElement(vnode.tag);
  node._tag = vnode.tag;
  node._key = vnode.props.key;
  node._props = {};
  return node;
}

function update(node, vnode) {
  if (typeof vnode === "string") {
    if (node.data !== vnode) node.data = vnode;
    return;
  }
  const [before, now] = [node._props, vnode.props];
  for (const name in before) if (!(name in now)) set(node, name, null);
  for (const name in now) if (before[name] !== now[name]) set(node, name, now[name]);
  node._props = now;
  if (!now.own) patch(node, vnode.kids);
  if (now.draw) now.draw(node);
}

function set(node, name, value) {
  if (name === "key" || name === "draw" || name === "own") return;
  if (name === "css") {
    for (const each in value ?? {}) node.style.setProperty(each, value[each]);
  } else if (name.startsWith("on")) {
    node[name] = value;
  } else if (name === "value") {
    if (node.value !== value) node.value = value ?? "";
  } else if (name === "href" && !HREF.test(String(value))) {
    node.removeAttribute("href");
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}
