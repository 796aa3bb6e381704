"""Somebody who works with the pages by mouse or by keyboard alone, and whose clicks are counted."""

from playwright.sync_api import Locator, Page, expect

MOST_STOPS = 90
HEAD_HEIGHT, ROW_HEIGHT = 32, 27  # pixels of a table of cells, about
# Ends once the script has run for it; a run of a part of the page that comes between is taken for that.
GO = """address => new Promise(done => {
    const stands = () => document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
    const watch = new MutationObserver(changes => {
        if (changes.some(each => each.oldValue !== "notRunning") && stands()) {
            watch.disconnect();
            done();
        }
    });
    watch.observe(document, {subtree: true, attributeFilter: ["data-test-script-state"], attributeOldValue: true});
    setTimeout(done, 5_000);
    history.pushState({}, "", address);
    dispatchEvent(new PopStateEvent("popstate"));
})"""
HAS_FOCUS = "element => element.contains(document.activeElement)"


def settled(page: Page) -> None:
    """Waits until the script of the page has run."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def go(page: Page, address: str) -> None:
    """Goes to another address of the same console as Back and Forward do, which reads no script anew; and waits."""
    settled(page)
    page.evaluate(GO, address)
    settled(page)


class Hands:
    """Counts what makes the page do something: each click, and each key that is pressed for more than to move.

    To move is free: Tab, arrows, the mouse without its button. To enter a text, which ends with Enter, is no click.
    """

    def __init__(self, page: Page, *, keyboard: bool) -> None:
        self.page = page
        self.keyboard = keyboard
        self.clicks = 0

    def press(self, target: Locator, *, key: str = "Enter") -> None:
        """Clicks it, or goes there by Tab and presses the key."""
        expect(target).to_have_count(1)
        expect(target).to_be_enabled()
        self.clicks += 1
        if self.keyboard:
            self._tab_to(target)
            self.page.keyboard.press(key)
        else:
            target.click()

    def shortcut(self, keys: str, button: Locator) -> None:
        """Presses the keys that stand for the button, wherever the focus is; clicks it, where a mouse is at hand."""
        if not self.keyboard:
            self.press(button)
            return
        expect(button).to_have_count(1)
        expect(button).to_be_enabled()
        self.clicks += 1
        self.page.keyboard.press(keys)

    def enter(self, text: str, field: Locator) -> None:
        """Pastes the text into the field, which has the focus or is a Tab away, and presses Enter."""
        expect(field).to_be_visible()
        if self.keyboard:
            self._tab_to(field)
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter")

    def open_row(self, table: Locator, row: int, across: int) -> None:
        """Opens a row, the first is 0: by its cell so many pixels from the left, or selects it by Shift and Space."""
        grid = table.locator("canvas").first
        expect(grid).to_be_visible()
        self.clicks += 1
        if not self.keyboard:
            box = grid.bounding_box()
            assert box is not None
            self.page.mouse.click(box["x"] + across, box["y"] + HEAD_HEIGHT + (row + 0.5) * ROW_HEIGHT)
            return
        self._tab_to(grid)
        for _ in range(row):
            self.page.keyboard.press("ArrowDown")
        self.page.keyboard.press("Shift+Space")

    def _tab_to(self, target: Locator) -> None:
        for _ in range(MOST_STOPS):
            if target.evaluate(HAS_FOCUS):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{target} is out of reach of the keyboard")
