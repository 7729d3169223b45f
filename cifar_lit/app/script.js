// What never gets an answer is told in our words, where the answer would be; Gradio's own are a fleeting box.
(() => {
  const note = () => document.querySelector("#refused .refusal");
  const tell = (heading, sentence) => {
    note().querySelector("b").textContent = heading;
    note().querySelector("p").textContent = sentence;
    note().hidden = false;
  };
  const inside = (event) => event.target.closest?.("#picture");
  const refuse = (event, files) => {
    if (!note() || !files?.length) return;
    const { mostBytes, formats } = note().dataset;
    const file = [...files].find((each) => each.size > mostBytes || !each.type.startsWith("image/"));
    note().hidden = true;
    if (files.length > 1) {
      // Gradio would send them all in one form, which the server refuses, and show the first.
      tell("These files were not sent.", `${files.length} at once; give one picture at a time.`);
    } else if (file) {
      const reason = file.size > mostBytes ? `more than ${mostBytes >> 20} MB; make it smaller` : `not an image; give ${formats}`;
      tell("This file was not sent.", `${file.name}: ${reason}`);
    } else return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "change") event.target.value = "";
  };
  document.addEventListener("change", (event) => inside(event) && refuse(event, event.target.files), true);
  document.addEventListener("drop", (event) => inside(event) && refuse(event, event.dataTransfer?.files), true);
  document.addEventListener("paste", (event) => refuse(event, event.clipboardData?.files), true);
  const ask = window.fetch;
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    if (note() && answer.status === 503) tell("No answer this time.", (await answer.clone().json()).detail);
    else if (note() && answer.url.includes("/queue/join")) note().hidden = true;
    return answer;
  };
  // A browser cannot show every picture that is read here (TIFF), nor what is none: no broken frame then.
  for (const kind of ["load", "error"])
    document.addEventListener(kind, ({ target }) => {
      if (target.matches?.("#picture img")) target.classList.toggle("unshown", kind === "error");
    }, true);
})();
