// Draws the diagrams in the colours of the theme, and again when the reader takes another one.
// Where Mermaid isn't there, their text stays.
(() => {
    if (!window.mermaid) {
        return;
    }
    const diagrams = [...document.querySelectorAll("pre.mermaid")];
    const texts = diagrams.map((diagram) => diagram.textContent);
    const isDark = () => ["coal", "navy", "ayu"].some((it) => document.documentElement.classList.contains(it));
    let drawn = null;
    const draw = async () => {
        const dark = isDark();
        if (dark === drawn) {
            return;
        }
        drawn = dark;
        diagrams.forEach((diagram, at) => {
            diagram.removeAttribute("data-processed");
            diagram.textContent = texts[at];
        });
        window.mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "default" });
        await window.mermaid.run({ nodes: diagrams });
        // On a narrow screen they scroll: smaller than this they can't be read.
        for (const drawing of document.querySelectorAll("pre.mermaid svg")) {
            drawing.style.minWidth = `${drawing.viewBox.baseVal.width * 0.75}px`;
        }
    };
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["class"] });
    draw();
})();
